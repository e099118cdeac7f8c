/* Starts the agent as a program of its own, for sandboxes that have no runner. */
#include "agent.h"

int main(int argc, char **argv) { return agent_main(argc, argv); }
