/* Runs commands from SPAWN to EXIT. */
#ifndef RUNNER_AGENT_COMMAND_H
#define RUNNER_AGENT_COMMAND_H

#include "agent/wire/frame.h"

/* Frames of the host. What concerns a command that has ended, or never was, is ignored. */
void command_spawn(uint32_t id, struct launch *launch); /* takes the launch over */
void command_input(uint32_t id, const struct input_frame *input);
bool command_credit(uint32_t id, uint32_t bytes); /* false: there is no such command */
void command_kill(uint32_t id, uint32_t grace_ms);
void command_signal(uint32_t id, int number);

void commands_reap(void);
int64_t commands_turn(void); /* timers and unread pipes; returns when to come back, or -1 */
bool commands_unread(void);  /* pipes were left for the next turn, for fairness */
void commands_free_ended(void);

#endif
