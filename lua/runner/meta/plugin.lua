---@meta
--- Describes all that the author of a plug-in sees, for editors and for the check of types: docs/plugins.md has the
--- same in words. Functions may wait unless they are called callbacks; they raise `errors.raise(kind, message)`.

-- ctx -----------------------------------------------------------------------------------------------------------------

---@alias runner.LogLevel "info"|"warning"|"error"

---@class runner.Context what every `ctx` has
---@field run_id string
---@field dir string absolute folder of the configuration
---@field settings runner.Config
---@field log fun(level: runner.LogLevel, format: string, ...: any) one line of the run's log, as of string.format
---@field process runner.process
---@field http runner.http
---@field ssh runner.ssh
---@field json runner.Json

---@class runner.Json cjson.safe: functions return nil and a message where they fail
---@field null lightuserdata
---@field encode fun(value: any): string?, string?
---@field decode fun(text: string): any, string?

---@class runner.ProviderContext: runner.Context of `prepare` and `finish`

---@class runner.OpenContext: runner.ProviderContext of `open`
---@field sandbox { id: string }
---@field target runner.Target? one of what `sandboxes` returned
---@field killed runner.Event set when the run is killed: nothing is waited for any more

---@class runner.FrameworkContext: runner.Context of a session: one group in one sandbox
---@field group string its name
---@field env table<string, string|false> of the configuration and the group; false: unset
---@field sandbox runner.SandboxInfo
---@field shell string path of a shell in the sandbox
---@field collect_only boolean? tests are only listed
---@field agent runner.Agent|runner.PlainAgent `agent.plain`: only plain commands run there
---@field spawn fun(spec: runner.SpawnSpec): runner.Command starts a process in the sandbox; returns at once
---@field put fun(path: string, bytes: string, mode: integer?) writes a file there (0644); raises "transport"
---@field send fun(name: string, list: runner.SyncTree): string brings files there; returns their folder
---@field tmpdir fun(): string a folder there, removed with the sandbox; raises "transport"

---@class runner.SandboxInfo
---@field id string
---@field cwd string? where tests run
---@field env table<string, string|false> of its processes, on top of the agent's own
---@field is_host boolean it is this machine
---@field project { root: string, folder: string }? where the project came from, and where it is now, if it was sent

---@class runner.GcContext what `gc` gets; no run is there
---@field entries runner.journal.Entry[] what dead runs have noted for this provider
---@field owner string the user on this machine, as runner.journal names them
---@field is_alive fun(run: string): boolean does a process on this machine still run it?
---@field all boolean? what is kept for later runs goes, too
---@field dry_run boolean? nothing is removed, only reported
---@field process runner.process
---@field http runner.http
---@field ssh runner.ssh
---@field json runner.Json
---@field report fun(what: string, problem: string?) something was removed (would be, could not be: the problem)

-- Providers -----------------------------------------------------------------------------------------------------------

---@class runner.ProviderSpec
---@field name string letters, digits, - and _
---@field api 1
---@field options table<string, string>? option → type
---@field check (fun(options: table<string, any>): string?)? what is wrong with options that are right one by one
---@field open fun(options: table<string, any>, ctx: runner.OpenContext, prepared: any): runner.SandboxHandle
---@field slots (fun(options: table<string, any>, settings: runner.Config): integer|"cpus")? tests at once in a sandbox
---@field sandboxes (fun(options: table<string, any>, settings: runner.Config): runner.Target[])?
---@field prepare (fun(options: table<string, any>, ctx: runner.ProviderContext): any)? once a run, before the first
---@field finish (fun(options: table<string, any>, ctx: runner.ProviderContext, prepared: any))? once, always
---@field gc (fun(gc: runner.GcContext))?

---@class runner.Target one of the sandboxes that a provider has by name
---@field name string
---@field slots integer|"cpus"|nil

---@class runner.SandboxHandle what `open` returns; `connect` or `start` is needed
---@field connect (fun(argv: string[]): runner.Stream)? starts a process there
---@field connect_agent (fun(self: runner.SandboxHandle): runner.Stream?)? where the agent is there already
---@field start (fun(line: string, options: runner.ShellOptions): runner.ShellProcess)? as runner.shell.start does
---@field close (fun(self: runner.SandboxHandle))? removes the sandbox, also one that was lost
---@field close_timeout number? seconds (default 30)
---@field cwd string? where tests run; relative to where the agent was started
---@field env table<string, string|false>? of tests
---@field shell string? default "/bin/sh"
---@field memory integer? bytes of address space of a process
---@field slots integer|"cpus"|nil tests at once (default 1)
---@field agent "host"|nil it is this machine
---@field sees_project boolean? the project's files are there already
---@field stateless boolean? commands find nothing of one another
---@field timeout number? seconds; limit of one plain command
---@field explain (fun(self: runner.SandboxHandle): string?)? why it was lost
---@field shell_command string? opens a shell in it, for `--hold-failed`
---@field download (fun(pairs: { from: string, to: string }[]))? fetches files where no agent runs

-- Frameworks ----------------------------------------------------------------------------------------------------------

---@class runner.FrameworkSpec
---@field name string letters, digits, - and _
---@field api 1
---@field options table<string, string>? option → type
---@field chooses string[]? options that say which tests, not how they run
---@field check (fun(options: table<string, any>): string?)?
---@field session fun(options: table<string, any>, ctx: runner.FrameworkContext): runner.Session

---@class runner.Session of one group in one sandbox
---@field discover fun(self: runner.Session): runner.Test[], runner.TestProblem[]? lists the tests
---@field worker fun(self: runner.Session, slot: runner.Slot, report: runner.WorkerReport): runner.Worker
---@field close fun(self: runner.Session): runner.TestProblem[]? what went wrong at its end

---@class runner.Test
---@field id string unique in its group; in the run, once it was found
---@field name string? default: the id
---@field file string? relative to the working folder
---@field line integer?
---@field tags string[]?
---@field ignored string? why it is skipped
---@field whole_file boolean? the tests of its file are handed out together
---@field test_timeout number? seconds, as the next
---@field slow_timeout number?
---@field retries integer?
---@field weight integer? slots that it takes
---@field exclusive true|string[]|nil mutexes
---@field priority number? higher first
---@field package group string? set by discovery, as the next
---@field package framework string?
---@field [string] any fields of the framework's own

---@class runner.TestProblem
---@field kind "collection"|"setup"|"leak"|"config"|"infrastructure"
---@field message string
---@field id string? what it is about: a file, a test
---@field text string? all that was said of it

---@alias runner.AttemptStatus "passed"|"failed"|"skipped"|"timed_out"|"crashed"|"lost"

---@class runner.Result how an attempt ended
---@field status runner.AttemptStatus
---@field message string? one line, or a few
---@field type string? of the exception or failure
---@field trace string?
---@field reason string? why it was skipped, or is expected to fail
---@field xfail boolean? it failed as expected
---@field duration number? seconds; default: as the host saw it
---@field cpu number? seconds
---@field memory integer? bytes, peak
---@field exit_code integer?
---@field signal integer?
---@field phases table<"setup"|"call"|"teardown", number>? seconds
---@field sections string[][]? { title, text }: what else was captured
---@field leaks runner.Leak[]? processes that it left running
---@field reruns integer? times that the framework itself ran it again

---@class runner.Leak
---@field pid integer
---@field command string
---@field test string? id

---@class runner.WorkerReport what a worker calls; all are callbacks
---@field started fun(item: runner.Item)
---@field output fun(item: runner.Item?, stream: "stdout"|"stderr", bytes: string) nil: of no test
---@field finished fun(item: runner.Item, result: runner.Result)
---@field returned fun(items: runner.Item[]) the answer to `take`
---@field problem fun(problem: runner.TestProblem)
---@field exited fun(exit: runner.CommandExit) its process died: what ran has crashed, the rest is queued again

---@class runner.Worker runs what is pushed to it; all but `close` are callbacks
---@field push fun(self: runner.Worker, items: runner.Item[])
---@field take fun(self: runner.Worker, n: integer) give back up to n that have not started; answered by `returned`
---@field stop fun(self: runner.Worker, item: runner.Item, why: "timeout"|"cancelled")
---@field close fun(self: runner.Worker) tears down and ends
---@field kill fun(self: runner.Worker) at once
