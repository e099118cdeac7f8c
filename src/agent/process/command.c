/* The life of a command: its lane, its start, its end, and everything that can come in between. */
#define _GNU_SOURCE 1
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "agent/agent.h"

enum {
  BUCKETS = 1024,
  QUEUED_MAX = 256 << 20, /* bytes of commands that wait in lanes */
  SWEEP_MS = 1000,        /* how long killed leftovers may take to go */
  SWEEP_PAUSE_MS = 10,
  STRIKE_PAUSE_MS = 10,
  STRIKE_PAUSE_MAX_MS = 1000,
};

struct lane {
  uint32_t number;
  bool due;                     /* first is to be started */
  struct command *first, *last; /* first is the one that runs */
  struct lane *next;
};

static struct command *by_id[BUCKETS], *by_pid[BUCKETS];
static struct lane *lanes;
static bool lanes_due; /* some lane is */
static size_t queued_bytes;

struct command *command_find(uint32_t id) {
  struct command *c = by_id[id % BUCKETS];
  while (c && c->id != id) c = c->id_next;
  return c;
}

struct command *command_of_root(pid_t pid) {
  struct command *c = by_pid[(unsigned)pid % BUCKETS];
  while (c && (c->pid != pid || c->reaped)) c = c->pid_next;
  return c;
}

struct command *command_of_session(pid_t pid) {
  struct command *c = by_pid[(unsigned)pid % BUCKETS];
  while (c && c->pid != pid) c = c->pid_next; /* the newest first: the number may come again */
  return c;
}

/* The host's, or else made from what only this command has. */
static const char *tag_of(const struct command *c, char made[static 300]) {
  if (c->launch->tag[0]) return c->launch->tag;
  snprintf(made, 300, "%.250s.%u", agent.run_id, c->id);
  return made;
}

struct command *command_of_tag(const char *tag, size_t size) {
  char made[300];
  for (struct command *c = agent.active; c; c = c->next) {
    const char *own = tag_of(c, made);
    if (strlen(own) == size && memcmp(own, tag, size) == 0) return c;
  }
  return NULL;
}

static void forget(struct command *c) {
  struct command **place = &by_id[c->id % BUCKETS];
  while (*place != c) place = &(*place)->id_next;
  *place = c->id_next;
  if (c->pid == 0) return;
  place = &by_pid[(unsigned)c->pid % BUCKETS];
  while (*place != c) place = &(*place)->pid_next;
  *place = c->pid_next;
}

static void activate(struct command *c) {
  c->previous = agent.active_last;
  c->next = NULL;
  *(agent.active_last ? &agent.active_last->next : &agent.active) = c;
  agent.active_last = c;
}

/* Leaves c->next as it is: somebody may be on the way through the list. */
static void deactivate(struct command *c) {
  *(c->previous ? &c->previous->next : &agent.active) = c->next;
  *(c->next ? &c->next->previous : &agent.active_last) = c->previous;
}

void command_close_handed(struct command *c) {
  for (int i = 0; i < 3; i++) {
    bool same = i > 0 && c->handed[i] == c->handed[0]; /* merged */
    if (c->handed[i] >= 0 && !same) close(c->handed[i]);
  }
  c->handed[0] = c->handed[1] = c->handed[2] = -1;
}

/* The next command of a lane starts without the host, which may hear of several at once: each time it wakes, it takes a
 * processor from the tests. What it waits for, the start of the first and the end of the last, goes at once. */
static void tell_in_time(const struct command *c, size_t before) {
  if (c->follows && c->lane_next) agent_can_wait(before);
}

static void write_exit(struct command *c, uint8_t kind, uint32_t code, const char *message) {
  struct buffer *out = &agent.out;
  size_t before = buffer_length(out);
  struct rusage *usage = &c->usage;
  size_t frame = frame_begin(out, AGENT_EXIT, c->id);
  put_u8(out, kind);
  put_u32(out, code);
  put_u8(out, (uint8_t)((c->timed_out ? EXIT_TIMED_OUT : 0) | (c->killed ? EXIT_KILLED : 0)));
  put_u64(out, (uint64_t)c->wall_us);
  put_u64(out, (uint64_t)usage->ru_utime.tv_sec * 1000000 + (uint64_t)usage->ru_utime.tv_usec);
  put_u64(out, (uint64_t)usage->ru_stime.tv_sec * 1000000 + (uint64_t)usage->ru_stime.tv_usec);
  put_u64(out, (uint64_t)usage->ru_maxrss * 1024);
  put_str(out, message, strlen(message));
  put_u32(out, (uint32_t)c->leak_count);
  for (size_t i = 0; i < c->leak_count; i++) {
    put_u32(out, (uint32_t)c->leaks[i].pid);
    put_str(out, c->leaks[i].command, strlen(c->leaks[i].command));
    put_str(out, c->leaks[i].test, strlen(c->leaks[i].test));
  }
  frame_end(out, frame);
  tell_in_time(c, before);
}

/* Takes the command out of its lane; if it was the first there, the next one is due. */
static void leave_lane(struct command *c) {
  struct lane *lane = c->lane;
  if (!lane) return;
  c->lane = NULL;
  if (lane->first != c) {
    struct command *before = lane->first;
    while (before->lane_next != c) before = before->lane_next;
    before->lane_next = c->lane_next;
    if (lane->last == c) lane->last = before;
    return;
  }
  lane->first = c->lane_next;
  if (lane->first) {
    lane->due = lanes_due = true;
    return;
  }
  struct lane **place = &lanes;
  while (*place != lane) place = &(*place)->next;
  *place = lane->next;
  free(lane);
}

/* The command's last words. Its memory stays until the end of the turn: epoll may still name it. */
static void end(struct command *c, uint8_t kind, uint32_t code, const char *message) {
  bool was_active = c->state != COMMAND_QUEUED;
  if (!was_active) queued_bytes -= c->launch->size;
  write_exit(c, kind, code, message);
  if (c->state == COMMAND_ASKED) server_forget(c);
  c->state = COMMAND_OVER;
  if (was_active) deactivate(c);
  forget(c);
  for (int i = 0; i < STREAMS; i++) stream_close(&c->streams[i]);
  command_close_handed(c);
  server_close(c);
  c->grave_next = agent.graves;
  agent.graves = c;
  leave_lane(c);
}

void commands_bury(void) {
  while (agent.graves) {
    struct command *c = agent.graves;
    agent.graves = c->grave_next;
    for (int i = 0; i < STREAMS; i++) buffer_free(&c->streams[i].queue);
    for (size_t i = 0; i < c->leak_count; i++) {
      free(c->leaks[i].command);
      free(c->leaks[i].test);
    }
    free(c->leaks);
    free(c->seen);
    launch_free(c->launch);
    free(c);
  }
}

void command_refuse(struct command *c, int error, const char *message) {
  end(c, EXIT_NOT_STARTED, (uint32_t)error, message);
}

/* It has a process: from here on it can be heard, fed and killed. */
void command_running(struct command *c, pid_t pid) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  c->state = COMMAND_RUNNING;
  c->pid = pid;
  c->pid_next = by_pid[(unsigned)pid % BUCKETS];
  by_pid[(unsigned)pid % BUCKETS] = c;
  size_t before = buffer_length(&agent.out), frame = frame_begin(&agent.out, AGENT_STARTED, c->id);
  put_u32(&agent.out, (uint32_t)pid);
  put_u64(&agent.out, (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000);
  frame_end(&agent.out, frame);
  tell_in_time(c, before);
  stream_write(&c->streams[STREAM_STDIN]);
  stream_write(&c->streams[STREAM_CONTROL]);
}

static int open_streams(struct command *c, int child[5]) {
  uint32_t flags = c->launch->flags;
  bool control = flags & SPAWN_CONTROL || c->launch->via;
  int error = stream_open(c, STREAM_STDOUT, &child[1]);
  if (!error && !(flags & SPAWN_MERGE)) error = stream_open(c, STREAM_STDERR, &child[2]);
  if (!error && flags & SPAWN_STDIN) error = stream_open(c, STREAM_STDIN, &child[0]);
  if (!error && control) error = stream_open(c, STREAM_CONTROL, &child[3]);
  if (!error && flags & SPAWN_FORKSERVER) error = server_open(c, &child[4]);
  return error;
}

static void start_by_server(struct command *c, const int child[5]) {
  for (int i = 0; i < 3; i++) c->handed[i] = child[i + 1];
  c->via = command_find(c->launch->via);
  if (c->via && c->via->server >= 0 && c->via->state == COMMAND_RUNNING) {
    if (c->launch->flags & SPAWN_MERGE) c->handed[1] = c->handed[0];
    c->state = COMMAND_ASKED;
    server_ask(c);
  } else {
    command_refuse(c, ESRCH, "the fork server is not running");
  }
}

static void start(struct command *c) {
  int child[5] = {-1, -1, -1, -1, -1};
  char message[512], made[300];
  struct launch *launch = c->launch;
  queued_bytes -= launch->size;
  c->started_us = monotonic_us();
  c->oom_kills = oom_kills();
  if (launch->deadline_ms) c->look_at = c->deadline_at = c->started_us / 1000 + launch->deadline_ms;
  c->state = COMMAND_RUNNING;
  activate(c);
  int error = open_streams(c, child);
  if (!error && launch->via) {
    start_by_server(c, child);
    return;
  }
  pid_t pid = -1;
  if (error) {
    snprintf(message, sizeof message, "pipe: %s", strerror(error));
  } else {
    int fds[5] = {child[0], child[1], child[2], child[3], child[4]};
    if (fds[0] < 0) fds[0] = agent.null;
    if (launch->flags & SPAWN_MERGE) fds[2] = fds[1];
    char **env = spawn_environment(launch, tag_of(c, made));
    pid = spawn(launch, fds, env, message);
    error = errno;
    free(env);
  }
  for (int i = 0; i < 5; i++)
    if (child[i] >= 0) close(child[i]);
  if (pid < 0)
    command_refuse(c, error, message);
  else
    command_running(c, pid);
}

/* One command per lane and turn: if they all fail to start, the agent still listens in between. */
static void start_due(void) {
  struct lane *next;
  lanes_due = false;
  for (struct lane *lane = lanes; lane; lane = next) {
    next = lane->next; /* starting can end the command, and with it its lane, but no other */
    if (!lane->due) continue;
    lane->due = false;
    lane->first->follows = true;
    start(lane->first);
  }
}

static struct lane *lane_of(uint32_t number) {
  struct lane *lane = lanes;
  while (lane && lane->number != number) lane = lane->next;
  if (!lane) {
    lane = must(calloc(1, sizeof *lane));
    lane->number = number;
    lane->next = lanes;
    lanes = lane;
  }
  return lane;
}

/* Takes the launch over. */
void command_spawn(uint32_t id, struct launch *launch) {
  if (id == 0 || command_find(id)) {
    launch_free(launch);
    agent_fail("SPAWN with the id %u, which is %s", id, id ? "taken" : "no id");
    return;
  }
  struct command *c = must(calloc(1, sizeof *c));
  c->id = id;
  c->launch = launch;
  c->credit = WINDOW;
  c->server = c->handed[0] = c->handed[1] = c->handed[2] = -1;
  for (int i = 0; i < STREAMS; i++) {
    c->streams[i].command = c;
    c->streams[i].fd = -1;
    c->streams[i].number = (uint8_t)i;
  }
  c->id_next = by_id[id % BUCKETS];
  by_id[id % BUCKETS] = c;
  queued_bytes += launch->size;
  if (launch->lane) {
    struct lane *lane = c->lane = lane_of(launch->lane);
    bool idle = !lane->first;
    *(idle ? &lane->first : &lane->last->lane_next) = c;
    lane->last = c;
    if (queued_bytes > QUEUED_MAX)
      command_refuse(c, ENOBUFS, "too much is waiting in the agent's lanes");
    if (!idle || c->state == COMMAND_OVER) return;
  }
  start(c);
}

static void kill_with_grace(struct command *c, uint32_t grace_ms) {
  int64_t at = agent.now_ms + grace_ms;
  bool again = c->strike_at != 0;
  if (!again || at < c->strike_at) c->strike_at = at;
  if (c->state == COMMAND_ASKED && !c->asked) {
    end(c, EXIT_DROPPED, 0, "");
  } else {
    bool alive = c->state == COMMAND_RUNNING || c->state == COMMAND_LINGERING;
    if (alive && !again && grace_ms > 0) tree_signal(c, SIGTERM);
    command_step(c);
  }
}

void command_kill(uint32_t id, uint32_t grace_ms) {
  struct command *c = command_find(id);
  if (!c) return;
  if (c->state == COMMAND_QUEUED) {
    end(c, EXIT_DROPPED, 0, "");
    return;
  }
  if (grace_ms == KILL_NEVER) return;
  if (!c->reaped) c->killed = true;
  kill_with_grace(c, grace_ms);
}

void command_signal(uint32_t id, int number) {
  struct command *c = command_find(id);
  if (c && c->state == COMMAND_RUNNING) kill(c->pid, number);
}

void command_reaped(struct command *c, int status, const struct rusage *usage) {
  int64_t now_us = monotonic_us();
  c->reaped = true;
  c->status = status;
  c->usage = *usage;
  c->wall_us = now_us - c->started_us;
  c->linger_until = now_us / 1000 + LINGER_MS;
  c->state = COMMAND_LINGERING;
  command_step(c);
}

void commands_reap(void) {
  int status, pid;
  struct rusage usage;
  while ((pid = wait4(-1, &status, WNOHANG, &usage)) > 0) {
    struct command *c = command_of_root(pid);
    if (!c) {
      agent.orphans_changed = true;
      server_reaped(pid, status, &usage);
      continue;
    }
    command_reaped(c, status, &usage);
  }
}

static bool is_open(const struct command *c) {
  return c->streams[1].fd >= 0 || c->streams[2].fd >= 0 || c->streams[3].fd >= 0;
}

/* Kills what the command left. True if there was something; `report` lists it as leaks first. */
static bool sweep(struct command *c, bool report) {
  struct process *list;
  size_t count = tree_orphans() ? tree_of(c, &list) : 0;
  if (count == 0) return false;
  if (report) tree_leaks(c, list, count);
  for (size_t i = 0; i < count; i++) kill(list[i].pid, SIGKILL);
  free(list);
  return true;
}

static bool has_leftovers(struct command *c) {
  struct process *list;
  size_t count = tree_orphans() ? tree_of(c, &list) : 0;
  if (count > 0) free(list);
  return count > 0;
}

/* After the last process: what the pipes hold at this moment still counts, no matter who writes. */
static void empty_pipes(struct command *c) {
  c->state = COMMAND_EMPTYING;
  for (int i = STREAM_STDOUT; i < STREAMS; i++) {
    struct stream *s = &c->streams[i];
    int waiting = 0;
    if (s->fd < 0) continue;
    if (ioctl(s->fd, FIONREAD, &waiting) < 0) waiting = 0;
    s->limited = s->readable = true;
    s->remaining = (size_t)waiting;
    stream_read(s);
  }
}

/* What a SIGKILL from nowhere was about; and the failure of one whose child got it. */
static const char *lack_of_memory(const struct command *c) {
  bool fine = WIFEXITED(c->status) ? WEXITSTATUS(c->status) == 0 : WTERMSIG(c->status) != SIGKILL;
  if (fine || c->killed || c->timed_out || oom_kills() == c->oom_kills) return "";
  return "the kernel killed a process here for want of memory";
}

static void finish(struct command *c) {
  if (WIFSIGNALED(c->status))
    end(c, EXIT_SIGNALLED, (uint32_t)WTERMSIG(c->status), lack_of_memory(c));
  else
    end(c, EXIT_EXITED, (uint32_t)WEXITSTATUS(c->status), lack_of_memory(c));
  if (!agent.active) tree_kill_unowned();
}

/* What time alone brings to a command that has not ended. */
static void step_running(struct command *c, int64_t now) {
  if (c->deadline_at && now >= c->deadline_at) {
    c->deadline_at = 0;
    c->timed_out = true;
    kill_with_grace(c, c->launch->grace_ms);
    return;
  }
  if (c->state == COMMAND_ASKED && !c->via) {
    command_refuse(c, ESRCH, "the fork server ended before it answered");
    return;
  }
  bool strikes = c->strike_at && now >= c->strike_at;
  if (strikes && c->state == COMMAND_ASKED) {
    command_refuse(c, ETIMEDOUT, "the fork server did not answer");
    return;
  }
  if (strikes) { /* again and again: between look and kill, it may have forked */
    tree_signal(c, SIGKILL);
    c->strike_pause = c->strike_pause ? c->strike_pause * 2 : STRIKE_PAUSE_MS;
    if (c->strike_pause > STRIKE_PAUSE_MAX_MS) c->strike_pause = STRIKE_PAUSE_MAX_MS;
    c->strike_at = now + c->strike_pause;
  }
  c->look_at = c->strike_at;
  if (c->deadline_at && (!c->look_at || c->deadline_at < c->look_at)) c->look_at = c->deadline_at;
}

/*
 * Moves the command on as far as it goes now, and sets look_at. Called whenever anything about it
 * may have changed; the command may be over afterwards.
 */
void command_step(struct command *c) {
  int64_t now = agent.now_ms;
  c->look_at = 0;
  if (c->state == COMMAND_RUNNING || c->state == COMMAND_ASKED) {
    step_running(c, now);
    return;
  }
  if (c->state == COMMAND_LINGERING) {
    /* One that is being killed has its grace for all of its processes, not just for the first. */
    bool dying = c->strike_at != 0, struck = c->strike_pause != 0;
    int64_t until = !dying ? c->linger_until : struck ? 0 : c->strike_at;
    if (now < until && (is_open(c) || has_leftovers(c))) {
      c->look_at = until;
      return;
    }
    if (now >= until && sweep(c, !dying)) {
      c->state = COMMAND_SWEEPING;
      c->sweep_until = now + SWEEP_MS;
      c->look_at = now + SWEEP_PAUSE_MS;
      return;
    }
    empty_pipes(c);
  }
  if (c->state == COMMAND_SWEEPING) {
    if (now < c->sweep_until && sweep(c, false)) {
      c->look_at = now + SWEEP_PAUSE_MS;
      return;
    }
    empty_pipes(c);
  }
  if (c->state == COMMAND_EMPTYING && !is_open(c)) finish(c);
}

/* One turn over all active commands; the one served first is served last in the next turn. */
int64_t commands_turn(void) {
  bool orphans = agent.orphans_changed;
  agent.again = agent.orphans_changed = false;
  for (struct command *c = agent.active, *next; c; c = next) {
    next = c->next; /* over by then, perhaps, but still there: the dead are buried later */
    if (c->state == COMMAND_OVER) continue;
    bool stirred = orphans && c->state == COMMAND_LINGERING;
    for (int i = STREAM_STDOUT; i < STREAMS; i++) {
      if (!c->streams[i].readable || c->credit == 0) continue;
      stream_read(&c->streams[i]);
      stirred = true;
    }
    if (stirred || (c->look_at && agent.now_ms >= c->look_at)) command_step(c);
  }
  if (lanes_due) start_due();
  if (!agent.active && orphans) tree_kill_unowned();

  int64_t first = lanes_due ? agent.now_ms : -1;
  for (struct command *c = agent.active; c; c = c->next)
    if (c->look_at && (first < 0 || c->look_at < first)) first = c->look_at;
  if (agent.active && agent.active->next) {
    struct command *head = agent.active;
    deactivate(head);
    activate(head);
  }
  return first;
}
