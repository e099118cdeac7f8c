/* Offers the agent as a function, to its own program and to the host's `runner agent`. */
#ifndef RUNNER_AGENT_H
#define RUNNER_AGENT_H

int agent_main(int argc, char **argv);

#endif
