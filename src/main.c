/* Starts the command line, which is in the library (host/runner.h), or the agent, which needs no Lua. */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#include "agent/agent.h"
#include "host/runner.h"

/* A caller may have closed 0, 1 or 2 (`runner >&-`): the first file that we open must not become one of them. */
static void open_missing_descriptors(void) {
  int fd;
  do fd = open("/dev/null", O_RDWR);
  while (fd >= 0 && fd <= STDERR_FILENO);
  if (fd >= 0) close(fd);
}

int main(int argc, char **argv) {
  open_missing_descriptors();
  if (argc > 1 && strcmp(argv[1], "agent") == 0) return agent_main(argc - 1, argv + 1);
  argv = uv_setup_args(argc, argv);
  struct runner *host = runner_open();
  if (host == NULL) return 70;
  int status = runner_main(host, argc, argv);
  runner_close(host);
  return status;
}
