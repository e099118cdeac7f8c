--- Names the outcomes that count as failures and the problems that make a run red: one table for all who ask.

local M = {}

--- Outcomes of an attempt, and states of a test, that are failures of the test.
M.FAILURE = { failed = true, timed_out = true, crashed = true }

--- Kinds of problems that make a run red by themselves: something of the project's did not work.
M.RED = { collection = true, setup = true, teardown = true, config = true }

return M
