/* Keeps the commands of the agent: what is known of each, and under which number it is found. */
#ifndef RUNNER_AGENT_REGISTRY_H
#define RUNNER_AGENT_REGISTRY_H

#include <sys/resource.h>
#include <sys/types.h>

#include "agent/base/watch.h"
#include "agent/wire/frame.h"

/* One end of a command's pipe or socket; its index in command.streams is its number on the wire. */
struct stream {
  struct source source;
  struct command *command;
  int fd; /* -1: never opened, or over */
  uint8_t number;
  bool readable;     /* epoll said so, and no read has come up short since */
  bool hangup;       /* nobody holds the other end: read on to the end of file */
  bool closing;      /* input: the host has ended it */
  bool input_closed; /* input: nobody will read it */
  bool limited;      /* only `remaining` more bytes are wanted */
  size_t remaining;
  struct buffer queue; /* input that the child has not taken yet */
};

enum command_state {
  COMMAND_QUEUED,    /* in its lane, behind another command */
  COMMAND_ASKED,     /* a fork server has to answer */
  COMMAND_RUNNING,   /* its first process has not been reaped */
  COMMAND_LINGERING, /* it has; pipes still open, or processes left over, may end by themselves */
  COMMAND_SWEEPING,  /* leftovers have been killed, and should be gone in a moment */
  COMMAND_EMPTYING,  /* what is still in the pipes goes out, as fast as credit allows */
  COMMAND_OVER,      /* EXIT is written; freed at the end of the loop's turn */
};

/* What pipes, fork servers and processes find out about a command; command.c moves it on. */
struct command_events {
  void (*changed)(struct command *c); /* anything about it may have: it may be over afterwards */
  void (*running)(struct command *c, pid_t pid);
  void (*refused)(struct command *c, int error, const char *message);
  void (*reaped)(struct command *c, int status, const struct rusage *usage);
};

struct leak {
  pid_t pid;
  char *command, *test;
};

struct command {
  uint32_t id;
  enum command_state state;
  const struct command_events *events;
  struct launch *launch;
  struct lane *lane;
  struct command *lane_next;          /* behind this one in its lane */
  bool follows;                       /* it was started because the one before had ended */
  struct command *id_next, *pid_next; /* hash chains */
  struct command *next, *previous;    /* active_commands: started, not over */
  struct command *ended_next;         /* over, to be freed at the end of the turn */
  struct stream streams[STREAMS];
  uint32_t credit;
  pid_t pid;   /* also its session, as long as any of its processes lives */
  bool reaped; /* the number may belong to somebody else by now */
  bool timed_out, killed;
  int64_t started_us; /* monotonic; the fields below too, in ms, 0: never */
  int64_t deadline_at, kill_at, linger_until, sweep_until, step_at;
  int kill_pause; /* ms until the next SIGKILL, doubling */
  int status;
  int64_t wall_us, oom_kills; /* the latter: when it started */
  struct rusage usage;
  struct leak *leaks;
  size_t leak_count;
  struct process *seen; /* its processes when they were last sent a signal, but for the first */
  size_t seen_count;
  /* fork servers and their clients */
  int server; /* our end of the socket whose other end is the command's fd 4, or -1 */
  struct source server_source;
  struct command *via; /* who was asked, while COMMAND_ASKED; NULL when that one has gone */
  bool asked;          /* the datagram is sent */
  int child_fds[3];    /* the child's ends, ours until then */
};

extern struct command *active_commands; /* started and not over, the one served first at its head */

void registry_begin(struct slice run_id); /* what tags are made from */

void registry_add(struct command *c);         /* under its id */
void registry_add_process(struct command *c); /* under its pid, too */
void registry_remove(struct command *c);      /* from both */
void registry_activate(struct command *c);    /* at the end of active_commands */
void registry_deactivate(struct command *c); /* c->next stays: somebody may be on the way through */
struct command *command_find(uint32_t id);
struct command *command_of_root(pid_t pid);    /* whose first process, not reaped yet, this is */
struct command *command_of_session(pid_t pid); /* whose first process led this session */
struct command *command_of_tag(const char *tag, size_t size);
const char *command_tag(const struct command *c, char made[static 300]); /* may lie in `made` */

#endif
