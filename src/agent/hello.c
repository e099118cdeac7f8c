/* Sends HELLO: which machine this is, and how much of it the sandbox may use. */
#define _GNU_SOURCE 1
#include "hello.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "agent/wire/output.h"

/* The least of what the machine has and what our control group may use; 0 in a file: no limit. */
static uint64_t group_limit(const char *path, uint64_t limit, bool ratio) {
  unsigned long long most = 0, period = 1;
  FILE *file = fopen(path, "re");
  if (!file) return limit;
  if (fscanf(file, ratio ? "%llu %llu" : "%llu", &most, &period) < (ratio ? 2 : 1)) most = 0;
  fclose(file);
  if (most == 0 || period == 0) return limit;
  uint64_t share = ratio ? (most + period - 1) / period : most;
  return share < limit ? share : limit;
}

void send_hello(void) {
  struct utsname name;
  struct sysinfo info;
  cpu_set_t cpus;
  char cwd[4096];
  uint64_t cores = 1, memory = 0;
  if (sched_getaffinity(0, sizeof cpus, &cpus) == 0) cores = (uint64_t)CPU_COUNT(&cpus);
  if (sysinfo(&info) == 0) memory = (uint64_t)info.totalram * info.mem_unit;
  if (uname(&name) < 0) memset(&name, 0, sizeof name);
  if (!getcwd(cwd, sizeof cwd)) cwd[0] = 0;
  size_t frame = frame_begin(&output.buffer, AGENT_HELLO, 0);
  put_u32(&output.buffer, PROTOCOL_VERSION);
  put_str(&output.buffer, name.machine, strlen(name.machine));
  put_u32(&output.buffer, (uint32_t)group_limit("/sys/fs/cgroup/cpu.max", cores, true));
  put_u64(&output.buffer, group_limit("/sys/fs/cgroup/memory.max", memory, false));
  put_str(&output.buffer, name.nodename, strlen(name.nodename));
  put_str(&output.buffer, cwd, strlen(cwd));
  frame_end(&output.buffer, frame);
}
