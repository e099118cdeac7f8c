/*
 * Starts one process. vfork shares the agent's memory with the child until it executes, so the
 * cost does not depend on anything's size, and the child can leave word of what went wrong in the
 * parent's variables. In return it may only make system calls.
 */
#define _GNU_SOURCE 1
#include "spawn.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

struct spawn_defaults spawn_defaults;

static const char default_path[] = "/usr/local/bin:/usr/bin:/bin";
static const char tag_variable[] = "RUNNER_COMMAND=";

static size_t key_length(const char *entry) { return strcspn(entry, "="); }

static bool same_key(const char *a, const char *b, size_t length) {
  return *a == *b && strncmp(a, b, length) == 0 && (a[length] == '=' || a[length] == 0);
}

char **spawn_environment(const struct launch *launch, const char *tag) {
  size_t inherited = 0, count = 0;
  if (!(launch->flags & SPAWN_CLEAR_ENV))
    while (environ[inherited]) inherited++;
  size_t pointers = (inherited + launch->envc + 2) * sizeof(char *);
  size_t tag_size = strlen(tag) + 1;
  char **env = must(malloc(pointers + sizeof tag_variable - 1 + tag_size));
  char *text = (char *)env + pointers;
  memcpy(text, tag_variable, sizeof tag_variable - 1);
  memcpy(text + sizeof tag_variable - 1, tag, tag_size);
  env[count++] = text;
  for (size_t i = 0; i < inherited; i++)
    if (!same_key(environ[i], text, sizeof tag_variable - 2)) env[count++] = environ[i];
  for (char **change = launch->env; *change; change++) {
    size_t length = key_length(*change), place = 0;
    bool sets = (*change)[length] == '=';
    while (place < count && !same_key(env[place], *change, length)) place++;
    if (sets) env[place] = *change;
    if (sets && place == count)
      count++;
    else if (!sets && place < count)
      env[place] = env[--count];
  }
  env[count] = NULL;
  return env;
}

/* What the child leaves behind in the parent's memory when it cannot become the program. */
struct failure {
  const char *step;
  int error;
  bool no_interpreter, searched;
};

static void try_program(const char *path, char **argv, char **env,
                        volatile struct failure *failure) {
  failure->error = 0; /* what stays if this succeeds: an earlier folder of PATH may have failed */
  execve(path, argv, env);
  failure->error = errno;
  failure->no_interpreter = errno == ENOENT && access(path, F_OK) == 0;
}

/* As execvp does it, but with the child's PATH, and without making scripts of unknown files. */
static void execute(char **argv, char **env, volatile struct failure *failure) {
  const char *program = argv[0];
  failure->step = "execve";
  if (strchr(program, '/')) {
    try_program(program, argv, env, failure);
    return;
  }
  const char *path = default_path;
  for (char **entry = env; *entry; entry++)
    if (strncmp(*entry, "PATH=", 5) == 0) path = *entry + 5;
  size_t length = strlen(program);
  int error = ENOENT;
  failure->searched = true;
  for (;; path++) {
    char candidate[PATH_MAX];
    size_t folder = strcspn(path, ":");
    if (folder + length + 2 <= sizeof candidate) {
      memcpy(candidate, path, folder);
      if (folder > 0) candidate[folder++] = '/';
      memcpy(candidate + folder, program, length + 1);
      try_program(candidate, argv, env, failure);
      if (failure->error == EACCES)
        error = EACCES; /* worth telling, if nothing better is found */
      else if (failure->no_interpreter || (failure->error != ENOENT && failure->error != ENOTDIR))
        return;
    }
    path += strcspn(path, ":");
    if (*path == 0) break;
  }
  failure->error = error;
}

/* The child, from vfork to execve. Only system calls: the memory is the parent's. */
static void child(const struct launch *launch, const int fds[5], char **env, pid_t parent,
                  volatile struct failure *failure) {
  sigset_t none;
  sigemptyset(&none);
  setsid();
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) return; /* it died before the line above */
  failure->step = "dup2";
  for (int i = 0; i < 5; i++)
    if (fds[i] >= 0 && dup2(fds[i], i) < 0) goto failed;
  failure->step = "setrlimit";
  if (setrlimit(RLIMIT_NOFILE, &spawn_defaults.files) < 0) goto failed;
  if (launch->memory) {
    struct rlimit memory = {launch->memory, launch->memory};
    if (setrlimit(RLIMIT_AS, &memory) < 0) goto failed;
  }
  failure->step = "chdir";
  if (launch->cwd[0] && chdir(launch->cwd) < 0) goto failed;
  sigprocmask(SIG_SETMASK, &none, NULL);
  execute(launch->argv, env, failure);
  return;
failed:
  failure->error = errno;
}

/*
 * Starts the program with fds[i] as its descriptor i (-1: none). Every descriptor of the agent is
 * close-on-exec and above 4, every signal is blocked, no disposition is changed: so there is
 * nothing to clean up in the child but the mask. Returns the pid, or -1 with a message and errno.
 */
pid_t spawn(const struct launch *launch, const int fds[5], char **env, char message[static 512]) {
  volatile struct failure failure = {.step = "vfork"}; /* the child writes it behind our back */
  pid_t parent = getpid(), pid = vfork();
  if (pid == 0) {
    child(launch, fds, env, parent, &failure);
    _exit(127);
  }
  if (pid > 0 && failure.error == 0) return pid;
  if (pid > 0)
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) continue;
  else
    failure.error = errno;
  const char *step = failure.step;
  bool moved = strcmp(step, "chdir") == 0, ran = strcmp(step, "execve") == 0;
  const char *culprit = moved ? launch->cwd : ran ? launch->argv[0] : "";
  const char *note = failure.no_interpreter ? " (the program its first line names, or its loader)"
                     : failure.searched && failure.error == ENOENT ? " (searched PATH)"
                                                                   : "";
  snprintf(message, 512, "%s%s%.300s: %s%s", step, *culprit ? " " : "", culprit,
           strerror(failure.error), note);
  errno = failure.error;
  return -1;
}
