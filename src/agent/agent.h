/* What the agent's files share: its state, its commands, and who does what. One thread, no locks. */
#ifndef RUNNER_AGENT_H
#define RUNNER_AGENT_H

#include <sys/resource.h>
#include <sys/types.h>

#include "agent/wire/frame.h"

int agent_main(int argc, char **argv);
int agent_hash(void);

/* Something epoll watches, always edge-triggered: whoever is told must remember what is ready. */
struct source {
  void (*ready)(struct source *source, uint32_t events);
};

/* One end of a command's pipe or socket; its index in command.streams is its number on the wire. */
struct stream {
  struct source source;
  struct command *command;
  int fd; /* -1: never opened, or over */
  uint8_t number;
  bool readable;      /* epoll said so, and no read has come up short since */
  bool hangup;        /* nobody holds the other end: read on to the end of file */
  bool closing, deaf; /* input: the host has ended it; nobody will read it */
  bool limited;       /* only `remaining` more bytes are wanted */
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

struct leak {
  pid_t pid;
  char *command, *test;
};

struct command {
  uint32_t id;
  enum command_state state;
  struct launch *launch;
  struct lane *lane;
  struct command *lane_next;          /* behind this one in its lane */
  bool follows;                       /* it was started because the one before had ended */
  struct command *id_next, *pid_next; /* hash chains */
  struct command *next, *previous;    /* agent.active: started, not over */
  struct command *grave_next;         /* agent.graves: over, not freed */
  struct stream streams[STREAMS];
  uint32_t credit;
  pid_t pid;   /* also its session, as long as any of its processes lives */
  bool reaped; /* the number may belong to somebody else by now */
  bool timed_out, killed;
  int64_t started_us; /* monotonic; the fields below too, in ms, 0: never */
  int64_t deadline_at, strike_at, linger_until, sweep_until, look_at;
  int strike_pause; /* ms until the next SIGKILL, doubling */
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
  int handed[3];       /* the child's ends, ours until then */
};

struct agent {
  int epoll, null;
  struct buffer out;
  size_t out_can_wait; /* bytes at its head that the host is not waiting for */
  bool over;
  int64_t now_ms; /* monotonic, taken once per turn */
  char *run_id;
  struct rlimit files; /* RLIMIT_NOFILE as it was: what children get */
  struct command *active, *active_last, *graves;
  bool orphans_changed; /* somebody's orphan was reaped: leftovers may be gone */
  bool again;           /* readable streams were left for the next turn, for fairness */
};

extern struct agent agent;

/* agent.c */
enum { OUT_HIGH = 1 << 20 }; /* with so much unsent output, pipes are left alone */
void agent_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
int64_t monotonic_us(void);
void agent_done(uint32_t id, int error, const char *path, size_t size); /* DONE */
void agent_can_wait(size_t before);
bool agent_watch(int fd, struct source *source, uint32_t events);

/* command.c: from SPAWN to EXIT */
void command_spawn(uint32_t id, struct launch *launch);
void command_kill(uint32_t id, uint32_t grace_ms);
void command_signal(uint32_t id, int number);
struct command *command_find(uint32_t id);
struct command *command_of_root(pid_t pid);    /* whose first process, not reaped yet, this is */
struct command *command_of_session(pid_t pid); /* whose first process led this session */
struct command *command_of_tag(const char *tag, size_t size);
void command_running(struct command *c, pid_t pid);
void command_refuse(struct command *c, int error, const char *message);
void command_reaped(struct command *c, int status, const struct rusage *usage);
void command_close_handed(struct command *c);
void command_step(struct command *c);
void commands_reap(void);
int64_t commands_turn(void); /* timers and unread pipes; returns when to come back, or -1 */
void commands_bury(void);

/* spawn.c: one process */
char **spawn_environment(const struct launch *launch, const char *tag);
pid_t spawn(const struct launch *launch, const int fds[5], char **env, char message[static 512]);

/* stream.c: its pipes */
int stream_open(struct command *c, int number, int *child);
void stream_read(struct stream *s);
void stream_input(struct stream *s, struct slice bytes);
void stream_write(struct stream *s);
void stream_close(struct stream *s);

/* server.c: fork servers */
int server_open(struct command *c, int *child);
void server_ask(struct command *c);
void server_close(struct command *c);
void server_forget(struct command *client); /* it ends before the answer */
void server_reaped(pid_t pid, int status, const struct rusage *usage);

/* tree.c: processes */
struct process {
  pid_t pid, parent, group, session;
  unsigned long long start; /* with pid, it names a process for good */
  bool dead, dying, ours, resolved;
  struct command *owner; /* NULL: nobody's, or not ours */
};
void tree_start(void);
bool tree_orphans(void); /* may the agent have children other than commands? */
size_t tree_of(const struct command *c, struct process **list); /* alive, without the root */
void tree_signal(struct command *c, int number);
void tree_leaks(struct command *c, const struct process *list, size_t count);
void tree_kill_unowned(void);
void tree_kill_all(void); /* returns when nothing is left, or nothing more can be done */

/* oom.c */
void oom_begin(void);
int64_t oom_kills(void); /* so far, around us; 0 where that is not known */

/* file.c */
int file_put(const struct put_frame *put);
int file_mkdtemp(struct slice prefix, char path[static 4096]);
void file_remove_folders(void);
void file_make_parents(char *path);                  /* changed only meanwhile */
void file_remove_tree(int parent, const char *name); /* as far as that is possible */
extern int64_t file_remove_until; /* monotonic µs after which nothing more is removed; 0: never */

#endif
