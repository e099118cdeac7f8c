/* The agent as a program of its own, for sandboxes that have no runner. */
int agent_main(int argc, char **argv);

int main(int argc, char **argv) { return agent_main(argc, argv); }
