/*
 * The agent: a small program that runs inside every sandbox and does what the frames on its stdin
 * say (protocol.h): start processes, stream their output, kill them, count what they used. One
 * thread, one epoll loop, no blocking but for files. It outlives its host by as long as it takes to
 * kill what it has started.
 */
#define _GNU_SOURCE 1
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "agent/store/artifact.h"
#include "agent/store/expire.h"
#include "agent/store/sync.h"

enum {
  READ_SIZE = 256 << 10,
  OUT_STOP = 8 << 20, /* with so much unsent output, the host is not heard either */
  FAREWELL_MS = 500,
  GATHER_US = 1000,
  GATHER_BYTES = 16 << 10,
  HOLD_MS = 5,
};

struct agent agent;

static struct buffer in;
static struct source input_source, output_source, signal_source;
static int signals = -1;
static bool readable, writable = true, greeted, failed;

int64_t monotonic_us(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

bool agent_watch(int fd, struct source *source, uint32_t events) {
  struct epoll_event event = {.events = events | EPOLLET, .data.ptr = source};
  return epoll_ctl(agent.epoll, EPOLL_CTL_ADD, fd, &event) == 0;
}

/* The host broke the protocol: say how, and stop. */
void agent_fail(const char *format, ...) {
  char message[512];
  va_list arguments;
  if (agent.over) return;
  va_start(arguments, format);
  vsnprintf(message, sizeof message, format, arguments);
  va_end(arguments);
  size_t frame = frame_begin(&agent.out, AGENT_ERROR, 0);
  put_str(&agent.out, message, strlen(message));
  frame_end(&agent.out, frame);
  agent.over = failed = true;
}

/* The host is not waiting for what was written since `out` was `before` bytes long. */
void agent_can_wait(size_t before) {
  if (before == agent.out_can_wait) agent.out_can_wait = buffer_length(&agent.out);
}

/* How many ms longer all of the output may wait for company; 0: it goes now. */
static int64_t patience(void) {
  static int64_t since;
  size_t size = buffer_length(&agent.out);
  bool can_wait = size > 0 && size == agent.out_can_wait && size < GATHER_BYTES;
  if (can_wait && since == 0) since = agent.now_ms;
  int64_t left = can_wait ? since + HOLD_MS - agent.now_ms : 0;
  if (left > 0) return left;
  since = 0;
  return 0;
}

static void flush(void) {
  agent.out_can_wait = 0;
  while (writable && buffer_length(&agent.out) > 0) {
    size_t size = buffer_length(&agent.out);
    ssize_t put = write(STDOUT_FILENO, agent.out.data + agent.out.head, size);
    if (put < 0 && errno == EINTR) continue;
    if (put < 0 && errno != EAGAIN) {
      agent.over = true; /* nobody listens any more */
      return;
    }
    if (put > 0) buffer_drop(&agent.out, (size_t)put);
    writable = put >= 0 && (size_t)put == size;
  }
}

static void output_ready(struct source *source, uint32_t events) {
  (void)source;
  if (events & (EPOLLERR | EPOLLHUP)) agent.over = true;
  if (events & EPOLLOUT) writable = true;
}

static void signal_ready(struct source *source, uint32_t events) {
  struct signalfd_siginfo info[8];
  (void)source, (void)events;
  while (read(signals, info, sizeof info) == sizeof info) continue;
  commands_reap();
}

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

static void greet(void) {
  struct utsname name;
  struct sysinfo info;
  cpu_set_t cpus;
  char cwd[4096];
  uint64_t cores = 1, memory = 0;
  if (sched_getaffinity(0, sizeof cpus, &cpus) == 0) cores = (uint64_t)CPU_COUNT(&cpus);
  if (sysinfo(&info) == 0) memory = (uint64_t)info.totalram * info.mem_unit;
  if (uname(&name) < 0) memset(&name, 0, sizeof name);
  if (!getcwd(cwd, sizeof cwd)) cwd[0] = 0;
  size_t frame = frame_begin(&agent.out, AGENT_HELLO, 0);
  put_u32(&agent.out, PROTOCOL_VERSION);
  put_str(&agent.out, name.machine, strlen(name.machine));
  put_u32(&agent.out, (uint32_t)group_limit("/sys/fs/cgroup/cpu.max", cores, true));
  put_u64(&agent.out, group_limit("/sys/fs/cgroup/memory.max", memory, false));
  put_str(&agent.out, name.nodename, strlen(name.nodename));
  put_str(&agent.out, cwd, strlen(cwd));
  frame_end(&agent.out, frame);
}

void agent_done(uint32_t id, int error, const char *path, size_t size) {
  size_t frame = frame_begin(&agent.out, AGENT_DONE, id);
  put_u32(&agent.out, (uint32_t)error);
  if (error) {
    char message[4096 + 128];
    int length = snprintf(message, sizeof message, "%.*s: %s", (int)(size > 4096 ? 4096 : size),
                          path, strerror(error));
    put_str(&agent.out, message, (size_t)length);
  } else {
    put_str(&agent.out, path, size);
  }
  frame_end(&agent.out, frame);
}

static const char *on_hello(const struct frame *frame) {
  uint32_t version;
  struct slice run_id;
  const char *wrong = decode_hello(frame, &version, &run_id);
  if (wrong) return wrong;
  if (frame->id != 0) return "malformed HELLO";
  if (version != PROTOCOL_VERSION) return "the host speaks another version of the protocol";
  agent.run_id = must(strndup(run_id.bytes, run_id.size));
  greeted = true;
  return NULL;
}

static const char *on_spawn(const struct frame *frame) {
  struct launch *launch;
  const char *wrong = decode_spawn(frame, &launch);
  if (!wrong) command_spawn(frame->id, launch);
  return wrong;
}

static const char *on_input(const struct frame *frame) {
  struct input_frame input;
  const char *wrong = decode_input(frame, &input);
  struct command *c = wrong ? NULL : command_find(frame->id);
  if (c) stream_input(&c->streams[input.stream], input.bytes);
  return wrong;
}

static const char *on_signal(const struct frame *frame) {
  uint8_t number;
  const char *wrong = decode_signal(frame, &number);
  if (!wrong) command_signal(frame->id, number);
  return wrong;
}

static const char *on_kill(const struct frame *frame) {
  uint32_t grace_ms;
  const char *wrong = decode_number(frame, &grace_ms);
  if (!wrong) command_kill(frame->id, grace_ms);
  return wrong;
}

static const char *on_credit(const struct frame *frame) {
  uint32_t bytes;
  const char *wrong = decode_number(frame, &bytes);
  struct command *c = wrong ? NULL : command_find(frame->id);
  if (c) c->credit += bytes < UINT32_MAX - c->credit ? bytes : UINT32_MAX - c->credit;
  if (!c && !wrong) artifact_credit(frame->id, bytes);
  return wrong; /* what became readable by it is read at the end of the turn */
}

static const char *on_put(const struct frame *frame) {
  struct put_frame put;
  const char *wrong = decode_put(frame, &put);
  if (!wrong) agent_done(frame->id, file_put(&put), put.path.bytes, put.path.size);
  return wrong;
}

static const char *on_mkdtemp(const struct frame *frame) {
  struct slice prefix;
  char path[4096];
  const char *wrong = decode_mkdtemp(frame, &prefix);
  if (wrong) return wrong;
  int error = file_mkdtemp(prefix, path);
  agent_done(frame->id, error, path, strnlen(path, sizeof path));
  return NULL;
}

static const char *on_ping(const struct frame *frame) {
  const char *wrong = decode_empty(frame);
  if (!wrong) frame_end(&agent.out, frame_begin(&agent.out, AGENT_PONG, frame->id));
  return wrong;
}

static const char *on_sync(const struct frame *frame) {
  struct sync_frame sync;
  const char *wrong = decode_sync(frame, &sync);
  if (!wrong) sync_begin(frame->id, &sync);
  return wrong;
}

static const char *on_entries(const struct frame *frame) {
  return sync_entries(frame->id, (struct slice){(const char *)frame->payload, frame->size});
}

static const char *on_chunk(const struct frame *frame) {
  uint32_t index;
  struct slice bytes;
  const char *wrong = decode_chunk(frame, &index, &bytes);
  return wrong ? wrong : sync_chunk(frame->id, index, bytes);
}

static const char *on_list(const struct frame *frame) {
  struct list_frame list;
  const char *wrong = decode_list(frame, &list);
  if (!wrong) artifact_list(frame->id, &list);
  return wrong;
}

static const char *on_get(const struct frame *frame) {
  struct get_frame get;
  const char *wrong = decode_get(frame, &get);
  if (!wrong) artifact_get(frame->id, &get);
  return wrong;
}

static const char *on_stop(const struct frame *frame) {
  const char *wrong = decode_empty(frame);
  if (!wrong && !sync_stop(frame->id)) artifact_stop(frame->id);
  return wrong;
}

static void dispatch(const struct frame *frame) {
  static const char *(*const handlers[])(const struct frame *) = {
      [HOST_HELLO] = on_hello,   [HOST_SPAWN] = on_spawn,     [HOST_INPUT] = on_input,
      [HOST_SIGNAL] = on_signal, [HOST_KILL] = on_kill,       [HOST_CREDIT] = on_credit,
      [HOST_PUT] = on_put,       [HOST_MKDTEMP] = on_mkdtemp, [HOST_PING] = on_ping,
      [HOST_SYNC] = on_sync,     [HOST_ENTRIES] = on_entries, [HOST_CHUNK] = on_chunk,
      [HOST_LIST] = on_list,     [HOST_GET] = on_get,         [HOST_STOP] = on_stop,
  };
  const char *wrong = NULL;
  if (frame->type >= sizeof handlers / sizeof *handlers || !handlers[frame->type])
    agent_fail("a frame of the unknown type %d", frame->type);
  else if (greeted == (frame->type == HOST_HELLO))
    wrong = greeted ? "a second HELLO" : "the first frame is not HELLO";
  else
    wrong = handlers[frame->type](frame);
  if (wrong) agent_fail("%s", wrong);
}

/* One read a turn, and all the frames in it. */
static void read_input(void) {
  ssize_t got = read(STDIN_FILENO, buffer_reserve(&in, READ_SIZE), READ_SIZE);
  if (got < 0) {
    if (errno == EAGAIN) readable = false;
    if (errno != EAGAIN && errno != EINTR) agent.over = true;
    return;
  }
  if (got == 0) {
    agent.over = true;
    return;
  }
  in.end += (size_t)got;
  struct frame frame;
  long used;
  while (!agent.over && (used = frame_next(in.data + in.head, buffer_length(&in), &frame)) != 0) {
    if (used < 0) {
      agent_fail("a frame of an impossible length");
      return;
    }
    dispatch(&frame);
    buffer_drop(&in, (size_t)used);
  }
}

static void input_ready(struct source *source, uint32_t events) {
  (void)source, (void)events;
  readable = true;
}

/* Whatever the host leaked into us goes no further. */
static void close_strays(void) {
  if (syscall(SYS_close_range, 3u, ~0u, 0u) == 0) return;
  long most = sysconf(_SC_OPEN_MAX);
  for (int fd = 3; fd < (most > 0 && most < 65536 ? most : 65536); fd++) close(fd);
}

/* Descriptors 3 and 4 are set aside, so that nothing of ours is where a child's belong. */
static bool reserve_descriptors(void) {
  agent.null = open("/dev/null", O_RDWR | O_CLOEXEC);
  if (agent.null < 0) return false;
  while (agent.null < 5) {
    agent.null = fcntl(agent.null, F_DUPFD_CLOEXEC, agent.null + 1);
    if (agent.null < 0) return false;
  }
  return true;
}

static bool more_files(void) {
  if (getrlimit(RLIMIT_NOFILE, &agent.files) < 0) return false;
  struct rlimit all = {agent.files.rlim_max, agent.files.rlim_max};
  setrlimit(RLIMIT_NOFILE, &all); /* three pipes a command add up; children get the old limit */
  return true;
}

/* All signals are blocked for good and all dispositions default: children start clean from that. */
static bool quiet_signals(void) {
  sigset_t all, child;
  for (int i = 1; i < NSIG; i++) signal(i, SIG_DFL);
  sigfillset(&all);
  sigprocmask(SIG_SETMASK, &all, NULL);
  sigemptyset(&child);
  sigaddset(&child, SIGCHLD);
  signals = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
  return signals >= 0;
}

static bool begin(void) {
  close_strays();
  setsid(); /* fails for a group's leader, which is then alone in it anyway */
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  /* Somebody may have stopped us when our parent goes: then we have to wake up to see that our input has ended. */
  prctl(PR_SET_PDEATHSIG, SIGCONT);
  agent.epoll = -1;
  if (!reserve_descriptors() || !more_files() || !quiet_signals()) return false;
  agent.epoll = epoll_create1(EPOLL_CLOEXEC);
  if (agent.epoll < 0) return false;
  fcntl(STDIN_FILENO, F_SETFL, fcntl(STDIN_FILENO, F_GETFL) | O_NONBLOCK);
  fcntl(STDOUT_FILENO, F_SETFL, fcntl(STDOUT_FILENO, F_GETFL) | O_NONBLOCK);
  tree_start();
  oom_begin();
  input_source.ready = input_ready;
  output_source.ready = output_ready;
  signal_source.ready = signal_ready;
  return agent_watch(signals, &signal_source, EPOLLIN) &&
         agent_watch(STDIN_FILENO, &input_source, EPOLLIN | EPOLLRDHUP) &&
         agent_watch(STDOUT_FILENO, &output_source, EPOLLOUT);
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
  struct epoll_event events[64];
  agent.now_ms = monotonic_us() / 1000;
  int64_t next = commands_turn();
  bool syncing = sync_turn(); /* both have their turn, whatever the other says */
  bool working = artifact_turn() || syncing;
  size_t said = buffer_length(&agent.out);
  int64_t held = patience();
  if (!held) flush();
  commands_bury();
  if (agent.over) return;
  bool hear = readable && buffer_length(&agent.out) < OUT_STOP;
  bool more = (agent.again || working) && buffer_length(&agent.out) < OUT_HIGH;
  int64_t wait = next < 0 ? -1 : next - agent.now_ms;
  if (hear || more) wait = 0;
  if (wait > 60000) wait = 60000;
  if (held && (wait < 0 || wait > held)) wait = held;
  gather(wait, said);
  int count = epoll_wait(agent.epoll, events, 64, (int)(wait < 0 && next >= 0 ? 0 : wait));
  agent.now_ms = monotonic_us() / 1000;
  for (int i = 0; i < count && !agent.over; i++) {
    struct source *source = events[i].data.ptr;
    source->ready(source, events[i].events);
  }
  if (readable && !agent.over && buffer_length(&agent.out) < OUT_STOP) read_input();
}

/* What is still to be said, above all the ERROR; the host may be slow, or no longer there. */
static void farewell(void) {
  int64_t until = monotonic_us() / 1000 + FAREWELL_MS;
  for (;;) {
    writable = true;
    flush();
    int64_t left = until - monotonic_us() / 1000;
    if (writable || left <= 0) return;
    struct pollfd output = {.fd = STDOUT_FILENO, .events = POLLOUT};
    if (poll(&output, 1, (int)left) <= 0 || output.revents & (POLLERR | POLLHUP)) return;
  }
}

int agent_main(int argc, char **argv) {
  if (argc == 2 && strcmp(argv[1], "--hash") == 0) return agent_hash();
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
  greet();
  while (!agent.over) turn();
  prctl(PR_SET_PDEATHSIG, 0); /* LeakSanitizer's look at the end hangs when a SIGCONT comes */
  tree_kill_all();
  if (failed) farewell();
  sync_end_all();
  artifact_end_all();
  file_remove_folders();
  close(STDOUT_FILENO); /* the host need not wait for the rest */
  expire_idle();
  return failed ? 70 : 0;
}
