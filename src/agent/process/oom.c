/* Counts how often the kernel has killed in our control group for want of memory. It says so nowhere else: the killed
 * process only looks as if somebody had sent it SIGKILL. */
#define _GNU_SOURCE 1
#include "oom.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int counter = -1;

static void try_counter(const char *folder, const char *group, const char *file) {
  char path[1024];
  if (counter >= 0) return;
  snprintf(path, sizeof path, "%s%s/%s", folder, group, file);
  counter = open(path, O_RDONLY | O_CLOEXEC);
}

/* Lines of /proc/self/cgroup are NUMBER:CONTROLLERS:GROUP, without controllers for version 2. The group may be named
 * as the host knows it; inside a container its files are then at the top. */
void oom_begin(void) {
  char line[1024];
  FILE *groups = fopen("/proc/self/cgroup", "re");
  while (groups && fgets(line, sizeof line, groups)) {
    line[strcspn(line, "\n")] = 0;
    char *controllers = strchr(line, ':'),
         *group = controllers ? strchr(controllers + 1, ':') : NULL;
    if (!group) continue;
    *group++ = 0;
    if (strcmp(controllers, ":memory") == 0)
      try_counter("/sys/fs/cgroup/memory", group, "memory.oom_control");
    else if (strcmp(controllers, ":") == 0)
      try_counter("/sys/fs/cgroup", group, "memory.events");
  }
  if (groups) fclose(groups);
  try_counter("/sys/fs/cgroup", "", "memory.events");
  try_counter("/sys/fs/cgroup/memory", "", "memory.oom_control");
}

int64_t oom_kills(void) {
  static const char name[] = "oom_kill ";
  char text[512];
  ssize_t size = counter < 0 ? -1 : pread(counter, text, sizeof text - 1, 0);
  if (size <= 0) return 0;
  text[size] = 0;
  const char *found = strstr(text, name);
  return found ? strtoll(found + sizeof name - 1, NULL, 10) : 0;
}
