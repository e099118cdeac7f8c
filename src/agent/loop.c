/*
 * Runs the agent: a small program inside every sandbox that does what the frames on its stdin say
 * (wire/protocol.h): starts processes, streams their output, kills them, counts what they used. One
 * thread, one loop, no blocking but for files. It outlives its host by as long as it takes to kill
 * what it has started.
 */
#define _GNU_SOURCE 1
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "agent.h"
#include "agent/base/clock.h"
#include "agent/base/watch.h"
#include "agent/process/command.h"
#include "agent/process/oom.h"
#include "agent/process/tree.h"
#include "agent/store/artifact.h"
#include "agent/store/expire.h"
#include "agent/store/file.h"
#include "agent/store/sync.h"
#include "agent/wire/output.h"
#include "dispatch.h"
#include "hello.h"
#include "self_hash.h"
#include "setup.h"

enum {
  READ_SIZE = 256 << 10,
  LAST_WORDS_MS = 500, /* how long a slow host is waited for at the end */
  GATHER_US = 1000,
};

static struct buffer in;
static struct source input_source, signal_source;
static int signals = -1;
static bool readable;

static void signal_ready(struct source *source, uint32_t events) {
  struct signalfd_siginfo info[8];
  (void)source, (void)events;
  while (read(signals, info, sizeof info) == sizeof info) continue;
  commands_reap();
}

static void input_ready(struct source *source, uint32_t events) {
  (void)source, (void)events;
  readable = true;
}

static bool begin(void) {
  signals = setup_process();
  if (signals < 0 || !watch_begin()) return false;
  tree_begin();
  oom_begin();
  input_source.ready = input_ready;
  signal_source.ready = signal_ready;
  return watch_add(signals, &signal_source, EPOLLIN) &&
         watch_add(STDIN_FILENO, &input_source, EPOLLIN | EPOLLRDHUP) && output_begin();
}

/* One read a turn, and all the frames in it. */
static void read_input(void) {
  ssize_t got = read(STDIN_FILENO, buffer_reserve(&in, READ_SIZE), READ_SIZE);
  if (got < 0) {
    if (errno == EAGAIN) readable = false;
    if (errno != EAGAIN && errno != EINTR) output.over = true;
    return;
  }
  if (got == 0) {
    output.over = true;
    return;
  }
  in.end += (size_t)got;
  struct frame frame;
  long used;
  while (!output.over && (used = frame_next(in.data + in.head, buffer_length(&in), &frame)) != 0) {
    if (used < 0) {
      output_fail("a frame of an impossible length");
      return;
    }
    dispatch(&frame);
    buffer_drop(&in, (size_t)used);
  }
}

/* Tests that end many times a millisecond would wake us, and through us the host, for every line of theirs, on the
 * processors that they need themselves. After a turn that brought little, output may wait a moment for company;
 * what the host says and a child's end are heard at once. */
static void gather(int64_t wait, size_t said) {
  static int64_t last_us;
  int64_t now_us = monotonic_us();
  if (wait != 0 && said > 0 && said < GATHER_BYTES && now_us - last_us < 2 * GATHER_US) {
    struct pollfd urgent[] = {{.fd = signals, .events = POLLIN},
                              {.fd = STDIN_FILENO, .events = POLLIN}};
    struct timespec moment = {.tv_nsec = GATHER_US * 1000};
    ppoll(urgent, 2, &moment, NULL);
    now_us = monotonic_us();
  }
  last_us = now_us;
}

static void turn(void) {
  clock_turn();
  int64_t next = commands_turn();
  bool syncing = sync_turn(); /* both have their turn, whatever the other says */
  bool working = artifact_turn() || syncing;
  size_t said = buffer_length(&output.buffer);
  int64_t held = output_hold_ms();
  if (!held) output_flush();
  commands_free_ended();
  if (output.over) return;
  bool hear = readable && buffer_length(&output.buffer) < OUTPUT_STOP;
  bool more = (commands_unread() || working) && buffer_length(&output.buffer) < OUTPUT_HIGH;
  int64_t wait = next < 0 ? -1 : next - now_ms;
  if (hear || more) wait = 0;
  if (wait > 60000) wait = 60000;
  if (held && (wait < 0 || wait > held)) wait = held;
  gather(wait, said);
  watch_wait((int)(wait < 0 && next >= 0 ? 0 : wait), &output.over);
  if (readable && !output.over && buffer_length(&output.buffer) < OUTPUT_STOP) read_input();
}

int agent_main(int argc, char **argv) {
  if (argc == 2 && strcmp(argv[1], "--hash") == 0) return self_hash();
  if (argc > 1 && strcmp(argv[1], "--expire") == 0) return expire_main(argc - 2, argv + 2);
  if (argc > 1) {
    fprintf(stderr,
            "usage: %s\nThe runner's agent, protocol %d: speaks frames on stdin and stdout.\n",
            argv[0], PROTOCOL_VERSION);
    return 64;
  }
  if (!begin()) {
    perror("agent: cannot start on this stdin and stdout");
    return 70;
  }
  send_hello();
  while (!output.over) turn();
  prctl(PR_SET_PDEATHSIG, 0); /* LeakSanitizer's look at the end hangs when a SIGCONT comes */
  tree_kill_all();
  if (output.failed) output_drain(LAST_WORDS_MS);
  sync_end_all();
  artifact_end_all();
  file_remove_folders();
  close(STDOUT_FILENO); /* the host need not wait for the rest */
  expire_idle();
  return output.failed ? 70 : 0;
}
