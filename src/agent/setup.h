/* Prepares the process: its descriptors, limits and signals. */
#ifndef RUNNER_AGENT_SETUP_H
#define RUNNER_AGENT_SETUP_H

/* Returns the descriptor that tells of the ends of children, or -1 and errno. */
int setup_process(void);

#endif
