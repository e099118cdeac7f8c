/* Moves commands on from SPAWN to EXIT: starts, kills, reaps and sweeps them. */
#define _GNU_SOURCE 1
#include "command.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "agent/base/clock.h"
#include "agent/wire/output.h"
#include "fork_server.h"
#include "lane.h"
#include "oom.h"
#include "spawn.h"
#include "stream.h"
#include "tree.h"

enum {
  QUEUED_MAX = 256 << 20, /* bytes of commands that wait in lanes */
  SWEEP_MS = 1000,        /* how long killed leftovers may take to go */
  SWEEP_PAUSE_MS = 10,
  KILL_PAUSE_MS = 10,
  KILL_PAUSE_MAX_MS = 1000,
};

static size_t queued_bytes;
static bool orphans_changed;  /* somebody's orphan was reaped: leftovers may be gone */
static struct command *ended; /* over, not freed */

static void step(struct command *c);
static void running(struct command *c, pid_t pid);
static void refuse(struct command *c, int error, const char *message);
static void reaped(struct command *c, int status, const struct rusage *usage);

static const struct command_events events = {step, running, refuse, reaped};

/* The next command of a lane starts without the host, which may hear of several at once: each time it wakes, it takes a
 * processor from the tests. What it waits for, the start of the first and the end of the last, goes at once. */
static void tell_in_time(const struct command *c, size_t before) {
  if (c->follows && c->lane_next) output_can_wait(before);
}

static void write_exit(struct command *c, uint8_t kind, uint32_t code, const char *message) {
  struct buffer *out = &output.buffer;
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

/* Writes its EXIT. Its memory stays until the end of the turn: epoll may still name it. */
static void end(struct command *c, uint8_t kind, uint32_t code, const char *message) {
  bool was_active = c->state != COMMAND_QUEUED;
  if (!was_active) queued_bytes -= c->launch->size;
  write_exit(c, kind, code, message);
  if (c->state == COMMAND_ASKED) fork_server_forget(c);
  c->state = COMMAND_OVER;
  if (was_active) registry_deactivate(c);
  registry_remove(c);
  for (int i = 0; i < STREAMS; i++) stream_close(&c->streams[i]);
  command_close_child_fds(c);
  fork_server_close(c);
  c->ended_next = ended;
  ended = c;
  lane_leave(c);
}

void commands_free_ended(void) {
  while (ended) {
    struct command *c = ended;
    ended = c->ended_next;
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

static void refuse(struct command *c, int error, const char *message) {
  end(c, EXIT_NOT_STARTED, (uint32_t)error, message);
}

/* It has a process: from here on it can be heard, fed and killed. */
static void running(struct command *c, pid_t pid) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  c->state = COMMAND_RUNNING;
  c->pid = pid;
  registry_add_process(c);
  size_t before = buffer_length(&output.buffer),
         frame = frame_begin(&output.buffer, AGENT_STARTED, c->id);
  put_u32(&output.buffer, (uint32_t)pid);
  put_u64(&output.buffer, (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000);
  frame_end(&output.buffer, frame);
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
  if (!error && flags & SPAWN_FORKSERVER) error = fork_server_open(c, &child[4]);
  return error;
}

static void start_by_server(struct command *c, const int child[5]) {
  for (int i = 0; i < 3; i++) c->child_fds[i] = child[i + 1];
  c->via = command_find(c->launch->via);
  if (c->via && c->via->server >= 0 && c->via->state == COMMAND_RUNNING) {
    if (c->launch->flags & SPAWN_MERGE) c->child_fds[1] = c->child_fds[0];
    c->state = COMMAND_ASKED;
    fork_server_ask(c);
  } else {
    refuse(c, ESRCH, "the fork server is not running");
  }
}

static void start(struct command *c) {
  int child[5] = {-1, -1, -1, -1, -1};
  char message[512], made[300];
  struct launch *launch = c->launch;
  queued_bytes -= launch->size;
  c->started_us = monotonic_us();
  c->oom_kills = oom_kills();
  if (launch->deadline_ms) c->step_at = c->deadline_at = c->started_us / 1000 + launch->deadline_ms;
  c->state = COMMAND_RUNNING;
  registry_activate(c);
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
    if (fds[0] < 0) fds[0] = spawn_defaults.null;
    if (launch->flags & SPAWN_MERGE) fds[2] = fds[1];
    char **env = spawn_environment(launch, command_tag(c, made));
    pid = spawn(launch, fds, env, message);
    error = errno;
    free(env);
  }
  for (int i = 0; i < 5; i++)
    if (child[i] >= 0) close(child[i]);
  if (pid < 0)
    refuse(c, error, message);
  else
    running(c, pid);
}

/* Takes the launch over. */
void command_spawn(uint32_t id, struct launch *launch) {
  if (id == 0 || command_find(id)) {
    launch_free(launch);
    output_fail("SPAWN with the id %u, which is %s", id, id ? "taken" : "no id");
    return;
  }
  struct command *c = must(calloc(1, sizeof *c));
  c->id = id;
  c->events = &events;
  c->launch = launch;
  c->credit = WINDOW;
  c->server = c->child_fds[0] = c->child_fds[1] = c->child_fds[2] = -1;
  for (int i = 0; i < STREAMS; i++) {
    c->streams[i].command = c;
    c->streams[i].fd = -1;
    c->streams[i].number = (uint8_t)i;
  }
  registry_add(c);
  queued_bytes += launch->size;
  if (launch->lane) {
    bool is_first = lane_join(c, launch->lane);
    if (queued_bytes > QUEUED_MAX) refuse(c, ENOBUFS, "too much is waiting in the agent's lanes");
    if (!is_first || c->state == COMMAND_OVER) return;
  }
  start(c);
}

static void kill_with_grace(struct command *c, uint32_t grace_ms) {
  int64_t at = now_ms + grace_ms;
  bool again = c->kill_at != 0;
  if (!again || at < c->kill_at) c->kill_at = at;
  if (c->state == COMMAND_ASKED && !c->asked) {
    end(c, EXIT_DROPPED, 0, "");
  } else {
    bool alive = c->state == COMMAND_RUNNING || c->state == COMMAND_LINGERING;
    if (alive && !again && grace_ms > 0) tree_signal(c, SIGTERM);
    step(c);
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

void command_input(uint32_t id, const struct input_frame *input) {
  struct command *c = command_find(id);
  if (c) stream_input(&c->streams[input->stream], input->bytes);
}

bool command_credit(uint32_t id, uint32_t bytes) {
  struct command *c = command_find(id);
  if (c) c->credit += bytes < UINT32_MAX - c->credit ? bytes : UINT32_MAX - c->credit;
  return c != NULL; /* what became readable by it is read at the end of the turn */
}

void command_signal(uint32_t id, int number) {
  struct command *c = command_find(id);
  if (c && c->state == COMMAND_RUNNING) kill(c->pid, number);
}

static void reaped(struct command *c, int status, const struct rusage *usage) {
  int64_t now_us = monotonic_us();
  c->reaped = true;
  c->status = status;
  c->usage = *usage;
  c->wall_us = now_us - c->started_us;
  c->linger_until = now_us / 1000 + LINGER_MS;
  c->state = COMMAND_LINGERING;
  step(c);
}

void commands_reap(void) {
  int status, pid;
  struct rusage usage;
  while ((pid = wait4(-1, &status, WNOHANG, &usage)) > 0) {
    struct command *c = command_of_root(pid);
    if (!c) {
      orphans_changed = true;
      fork_server_reaped(pid, status, &usage);
      continue;
    }
    reaped(c, status, &usage);
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
  if (!active_commands) tree_kill_unowned();
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
    refuse(c, ESRCH, "the fork server ended before it answered");
    return;
  }
  bool strikes = c->kill_at && now >= c->kill_at;
  if (strikes && c->state == COMMAND_ASKED) {
    refuse(c, ETIMEDOUT, "the fork server did not answer");
    return;
  }
  if (strikes) { /* again and again: between look and kill, it may have forked */
    tree_signal(c, SIGKILL);
    c->kill_pause = c->kill_pause ? c->kill_pause * 2 : KILL_PAUSE_MS;
    if (c->kill_pause > KILL_PAUSE_MAX_MS) c->kill_pause = KILL_PAUSE_MAX_MS;
    c->kill_at = now + c->kill_pause;
  }
  c->step_at = c->kill_at;
  if (c->deadline_at && (!c->step_at || c->deadline_at < c->step_at)) c->step_at = c->deadline_at;
}

/*
 * Moves the command on as far as it goes now, and sets step_at. Called whenever anything about it
 * may have changed; the command may be over afterwards.
 */
static void step(struct command *c) {
  int64_t now = now_ms;
  c->step_at = 0;
  if (c->state == COMMAND_RUNNING || c->state == COMMAND_ASKED) {
    step_running(c, now);
    return;
  }
  if (c->state == COMMAND_LINGERING) {
    /* One that is being killed has its grace for all of its processes, not just for the first. */
    bool dying = c->kill_at != 0, struck = c->kill_pause != 0;
    int64_t until = !dying ? c->linger_until : struck ? 0 : c->kill_at;
    if (now < until && (is_open(c) || has_leftovers(c))) {
      c->step_at = until;
      return;
    }
    if (now >= until && sweep(c, !dying)) {
      c->state = COMMAND_SWEEPING;
      c->sweep_until = now + SWEEP_MS;
      c->step_at = now + SWEEP_PAUSE_MS;
      return;
    }
    empty_pipes(c);
  }
  if (c->state == COMMAND_SWEEPING) {
    if (now < c->sweep_until && sweep(c, false)) {
      c->step_at = now + SWEEP_PAUSE_MS;
      return;
    }
    empty_pipes(c);
  }
  if (c->state == COMMAND_EMPTYING && !is_open(c)) finish(c);
}

bool commands_unread(void) { return streams_unread(); }

/* One turn over all active commands; the one served first is served last in the next turn. */
int64_t commands_turn(void) {
  bool orphans = orphans_changed;
  orphans_changed = false;
  streams_begin_turn();
  for (struct command *c = active_commands, *next; c; c = next) {
    next = c->next; /* over by then, perhaps, but still there: freed at the end of the turn */
    if (c->state == COMMAND_OVER) continue;
    bool stirred = orphans && c->state == COMMAND_LINGERING;
    for (int i = STREAM_STDOUT; i < STREAMS; i++) {
      if (!c->streams[i].readable || c->credit == 0) continue;
      stream_read(&c->streams[i]);
      stirred = true;
    }
    if (stirred || (c->step_at && now_ms >= c->step_at)) step(c);
  }
  if (lanes_are_due()) lanes_start_due(start);
  if (!active_commands && orphans) tree_kill_unowned();

  int64_t first = lanes_are_due() ? now_ms : -1;
  for (struct command *c = active_commands; c; c = c->next)
    if (c->step_at && (first < 0 || c->step_at < first)) first = c->step_at;
  if (active_commands && active_commands->next) {
    struct command *head = active_commands;
    registry_deactivate(head);
    registry_activate(head);
  }
  return first;
}
