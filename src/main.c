/* The command line: everything it does is in the library (runner.h); the agent needs no Lua and starts at once. */
#include <string.h>
#include <uv.h>

#include "agent/agent.h"
#include "runner.h"

int main(int argc, char **argv) {
  if (argc > 1 && strcmp(argv[1], "agent") == 0) return agent_main(argc - 1, argv + 1);
  argv = uv_setup_args(argc, argv);
  struct runner *host = runner_open();
  if (host == NULL) return 70;
  int status = runner_main(host, argc, argv);
  runner_close(host);
  return status;
}
