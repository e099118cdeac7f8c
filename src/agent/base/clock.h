/* Tells the time to all of the agent. */
#ifndef RUNNER_AGENT_CLOCK_H
#define RUNNER_AGENT_CLOCK_H

#include <stdint.h>

/* Monotonic ms, read by clock_turn alone: everything within one turn of the loop happens at the same time. */
extern int64_t now_ms;

void clock_turn(void);
int64_t monotonic_us(void);

#endif
