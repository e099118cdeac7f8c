/* Makes the agent a process that owes nothing to who started it, and that children can start from. */
#define _GNU_SOURCE 1
#include "setup.h"

#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent/process/spawn.h"

/* Whatever the host leaked into us goes no further. */
static void close_strays(void) {
  if (syscall(SYS_close_range, 3u, ~0u, 0u) == 0) return;
  long most = sysconf(_SC_OPEN_MAX);
  for (int fd = 3; fd < (most > 0 && most < 65536 ? most : 65536); fd++) close(fd);
}

/* Descriptors 3 and 4 are set aside, so that nothing of ours is where a child's belong. */
static bool reserve_descriptors(void) {
  spawn_defaults.null = open("/dev/null", O_RDWR | O_CLOEXEC);
  if (spawn_defaults.null < 0) return false;
  while (spawn_defaults.null < 5) {
    spawn_defaults.null = fcntl(spawn_defaults.null, F_DUPFD_CLOEXEC, spawn_defaults.null + 1);
    if (spawn_defaults.null < 0) return false;
  }
  return true;
}

static bool more_files(void) {
  if (getrlimit(RLIMIT_NOFILE, &spawn_defaults.files) < 0) return false;
  struct rlimit all = {spawn_defaults.files.rlim_max, spawn_defaults.files.rlim_max};
  setrlimit(RLIMIT_NOFILE, &all); /* three pipes a command add up; children get the old limit */
  return true;
}

/* All signals are blocked for good and all dispositions default: children start clean from that. */
static int quiet_signals(void) {
  sigset_t all, child;
  for (int i = 1; i < NSIG; i++) signal(i, SIG_DFL);
  sigfillset(&all);
  sigprocmask(SIG_SETMASK, &all, NULL);
  sigemptyset(&child);
  sigaddset(&child, SIGCHLD);
  return signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
}

int setup_process(void) {
  close_strays();
  setsid(); /* fails for a group's leader, which is then alone in it anyway */
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  /* Somebody may have stopped us when our parent goes: then we have to wake up to see that our input has ended. */
  prctl(PR_SET_PDEATHSIG, SIGCONT);
  if (!reserve_descriptors() || !more_files()) return -1;
  fcntl(STDIN_FILENO, F_SETFL, fcntl(STDIN_FILENO, F_GETFL) | O_NONBLOCK);
  fcntl(STDOUT_FILENO, F_SETFL, fcntl(STDOUT_FILENO, F_GETFL) | O_NONBLOCK);
  return quiet_signals();
}
