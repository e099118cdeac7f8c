/* Introduces the agent to its host. */
#ifndef RUNNER_AGENT_HELLO_H
#define RUNNER_AGENT_HELLO_H

void send_hello(void);

#endif
