/*
 * Finds and kills the processes of commands. The agent is a subreaper, so whatever a command starts is always
 * below the agent, however it daemonises. Whose it is: its session says so, else the nearest
 * ancestor that belongs to somebody, else RUNNER_COMMAND in its environment.
 */
#define _GNU_SOURCE 1
#include "tree.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "agent/base/clock.h"

enum { ENVIRON_MAX = 1 << 20, LEAK_TEXT_MAX = 2048, PATIENCE_MS = 5000 };

static pid_t self;
static DIR *proc;             /* NULL: no /proc, or that of other process numbers than ours */
static int children_fd = -1;  /* our children; kernels may lack it */
static struct process *found; /* the last snapshot, by pid */
static size_t found_count, found_capacity;

void tree_begin(void) {
  char name[64];
  self = getpid();
  ssize_t size = readlink("/proc/self", name, sizeof name - 1);
  if (size <= 0) return;
  name[size] = 0;
  if (atoi(name) != self) return;
  proc = opendir("/proc");
  snprintf(name, sizeof name, "/proc/self/task/%d/children", self);
  children_fd = open(name, O_RDONLY | O_CLOEXEC);
}

static bool is_stranger(pid_t pid) { return pid > 0 && !command_of_root(pid); }

bool tree_orphans(void) {
  char text[4096];
  ssize_t size;
  pid_t pid = 0; /* a number may be cut by the end of a read */
  if (children_fd < 0 || lseek(children_fd, 0, SEEK_SET) < 0) return proc != NULL;
  while ((size = read(children_fd, text, sizeof text)) > 0) {
    for (ssize_t i = 0; i < size; i++) {
      if (isdigit((unsigned char)text[i])) {
        pid = pid * 10 + (text[i] - '0');
        continue;
      }
      if (is_stranger(pid)) return true;
      pid = 0;
    }
  }
  return size < 0 || is_stranger(pid);
}

/* A file of /proc/PID, up to size - 1 bytes of it, and a NUL. -1 if it cannot be had. */
static ssize_t read_file(pid_t pid, const char *name, char *text, size_t size) {
  char path[64];
  snprintf(path, sizeof path, "%d/%s", pid, name);
  int fd = openat(dirfd(proc), path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return -1;
  size_t used = 0;
  ssize_t got;
  while (used < size - 1 && (got = read(fd, text + used, size - 1 - used)) > 0) used += (size_t)got;
  close(fd);
  text[used] = 0;
  return (ssize_t)used;
}

/* The value of a variable ("NAME=") in the environment of another process; the caller's, or NULL. */
static char *variable_of(pid_t pid, const char *name) {
  static char *text; /* allocated once: a megabyte of zeroes costs nothing until it is touched */
  if (!text) text = must(malloc(ENVIRON_MAX));
  ssize_t size = read_file(pid, "environ", text, ENVIRON_MAX);
  size_t length = strlen(name);
  for (char *at = text; size > 0 && at < text + size; at += strlen(at) + 1)
    if (strncmp(at, name, length) == 0) return must(strdup(at + length));
  return NULL;
}

static bool read_process(pid_t pid, struct process *p) {
  char text[512], state;
  if (read_file(pid, "stat", text, sizeof text) < 0) return false;
  char *rest = strrchr(text, ')'); /* the name before it may hold anything */
  if (!rest) return false;
  memset(p, 0, sizeof *p);
  p->pid = pid;
  unsigned long memory = 0;
  int fields = sscanf(rest + 1,
                      " %c %d %d %d %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s"
                      " %llu %lu",
                      &state, &p->parent, &p->group, &p->session, &p->start, &memory);
  p->dead = state == 'Z' || state == 'X';
  p->dying = memory == 0;
  return fields == 6;
}

static int compare(const void *a, const void *b) {
  pid_t x = ((const struct process *)a)->pid, y = ((const struct process *)b)->pid;
  return x < y ? -1 : x > y;
}

/* Whose it was when it was sent a signal, perhaps while its parent still lived. */
static struct command *owner_by_memory(const struct process *p) {
  for (struct command *c = active_commands; c; c = c->next)
    for (size_t i = 0; i < c->seen_count; i++)
      if (c->seen[i].pid == p->pid && c->seen[i].start == p->start) return c;
  return NULL;
}

static struct command *owner_of_orphan(const struct process *p) {
  struct command *remembered = owner_by_memory(p);
  if (remembered) return remembered;
  char *tag = variable_of(p->pid, "RUNNER_COMMAND=");
  struct command *owner = tag ? command_of_tag(tag, strlen(tag)) : NULL;
  free(tag);
  return owner;
}

/* Sets ours and owner, of the parents first. Numbers reused during the scan could make a circle. */
static void resolve(struct process *p) {
  if (p->resolved) return;
  p->resolved = true;
  struct command *owner = command_of_root(p->pid);
  if (p->parent == self) {
    p->ours = true;
    if (!owner) owner = command_of_session(p->session);
    if (!owner && !p->dead) owner = owner_of_orphan(p);
  } else {
    struct process key = {.pid = p->parent};
    struct process *parent =
        found_count ? bsearch(&key, found, found_count, sizeof *found, compare) : NULL;
    if (!parent) return;
    resolve(parent);
    if (!parent->ours) return;
    p->ours = true;
    if (!owner) owner = command_of_session(p->session);
    if (!owner) owner = parent->owner;
  }
  p->owner = owner;
}

static void look(void) {
  found_count = 0;
  if (!proc) return;
  rewinddir(proc);
  for (struct dirent *entry; (entry = readdir(proc));) {
    if (!isdigit((unsigned char)entry->d_name[0])) continue;
    if (found_count == found_capacity) {
      found_capacity = found_capacity ? found_capacity * 2 : 256;
      found = must(realloc(found, found_capacity * sizeof *found));
    }
    if (read_process(atoi(entry->d_name), &found[found_count])) found_count++;
  }
  qsort(found, found_count, sizeof *found, compare);
  for (size_t i = 0; i < found_count; i++) resolve(&found[i]);
}

/*
 * The list is the caller's to free, unless it is empty. What is dying has already lost its memory, and
 * with it the tag; a command whose processes have been killed waits for all such to be dead.
 */
size_t tree_of(const struct command *c, struct process **list) {
  size_t count = 0;
  look();
  *list = NULL;
  for (size_t i = 0; i < found_count; i++) {
    struct process *p = &found[i];
    bool killed = p->dying && !p->owner && (c->state == COMMAND_SWEEPING || c->kill_pause);
    bool root = p->pid == c->pid && !c->reaped;
    if (!p->ours || p->dead || root || (p->owner != c && !killed)) continue;
    if (!*list) *list = must(malloc((found_count - i) * sizeof **list));
    (*list)[count++] = *p;
  }
  return count;
}

void tree_signal(struct command *c, int number) {
  struct process *list;
  size_t count = tree_of(c, &list);
  /* Until the first process is reaped, its number and its group's cannot be anybody else's. */
  if (!c->reaped && kill(-c->pid, number) < 0) kill(c->pid, number);
  for (size_t i = 0; i < count; i++) {
    bool in_group = !c->reaped && list[i].group == c->pid;
    if (!in_group) kill(list[i].pid, number);
  }
  if (number == SIGTERM) { /* a stopped process would hear it only at the end */
    if (!c->reaped) kill(-c->pid, SIGCONT);
    for (size_t i = 0; i < count; i++) kill(list[i].pid, SIGCONT);
  }
  free(c->seen);
  c->seen = list;
  c->seen_count = count;
}

static char *command_line(pid_t pid) {
  char text[LEAK_TEXT_MAX];
  ssize_t size = read_file(pid, "cmdline", text, sizeof text);
  if (size <= 0) size = read_file(pid, "comm", text, sizeof text);
  if (size < 0) size = 0;
  while (size > 0 && (text[size - 1] == 0 || text[size - 1] == '\n')) size--;
  for (ssize_t i = 0; i < size; i++)
    if (text[i] == 0) text[i] = ' ';
  text[size] = 0;
  return must(strdup(text));
}

void tree_leaks(struct command *c, const struct process *list, size_t count) {
  if (count > LEAKS_MAX) count = LEAKS_MAX;
  c->leaks = must(calloc(count, sizeof *c->leaks));
  c->leak_count = count;
  for (size_t i = 0; i < count; i++) {
    struct leak *leak = &c->leaks[i];
    leak->pid = list[i].pid;
    leak->command = command_line(leak->pid);
    leak->test = variable_of(leak->pid, "RUNNER_TEST_ID=");
    if (!leak->test) leak->test = must(strdup(""));
    if (strlen(leak->test) > LEAK_TEXT_MAX) leak->test[LEAK_TEXT_MAX] = 0;
  }
}

void tree_kill_unowned(void) {
  if (!tree_orphans()) return;
  look();
  for (size_t i = 0; i < found_count; i++)
    if (found[i].ours && !found[i].dead && !found[i].owner) kill(found[i].pid, SIGKILL);
}

void tree_kill_all(void) {
  const struct timespec pause = {.tv_nsec = 2000000};
  int64_t until = monotonic_us() / 1000 + PATIENCE_MS;
  for (;;) {
    for (struct command *c = active_commands; c; c = c->next)
      if (c->pid && !c->reaped) kill(-c->pid, SIGKILL);
    look();
    for (size_t i = 0; i < found_count; i++)
      if (found[i].ours) kill(found[i].pid, SIGKILL);
    pid_t pid;
    while ((pid = waitpid(-1, NULL, WNOHANG)) > 0) {
      struct command *c = command_of_root(pid);
      if (c) c->reaped = true;
    }
    if (pid < 0 || monotonic_us() / 1000 > until) return;
    nanosleep(&pause, NULL);
  }
}
