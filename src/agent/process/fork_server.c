/*
 * Asks commands to fork, so that what they have loaded is loaded once. The agent hands over the ends
 * of the pipes, and takes the grandchild over as the first process of a command of its own. The
 * server is the tests' program: it may answer nonsense, late, or never.
 */
#define _GNU_SOURCE 1
#include "fork_server.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/base/clock.h"
#include "tree.h"

/* Children of no command that were reaped while answers were outstanding: one may be an answer's. */
enum { UNCLAIMED = 256 };
static struct unclaimed {
  pid_t pid;
  int status;
  struct rusage usage;
} unclaimed[UNCLAIMED];
static unsigned unclaimed_next;
static unsigned outstanding;

void fork_server_reaped(pid_t pid, int status, const struct rusage *usage) {
  if (outstanding == 0) return;
  unclaimed[unclaimed_next++ % UNCLAIMED] = (struct unclaimed){pid, status, *usage};
}

static struct unclaimed *find_unclaimed(pid_t pid) {
  for (int i = 0; i < UNCLAIMED; i++)
    if (unclaimed[i].pid == pid) return &unclaimed[i];
  return NULL;
}

static void forget_answer(void) {
  if (--outstanding == 0) memset(unclaimed, 0, sizeof unclaimed); /* numbers come again */
}

void fork_server_forget(struct command *client) {
  if (client->asked) forget_answer();
  client->asked = false;
}

static bool is_orphan(pid_t pid) {
  siginfo_t info;
  return pid > 1 && !command_of_root(pid) &&
         waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0;
}

static void answer(struct command *server, uint32_t id, pid_t pid) {
  struct command *c = command_find(id);
  bool orphan = is_orphan(pid);
  if (!c || c->state != COMMAND_ASKED || c->via != server) {
    if (orphan && (kill(-pid, SIGKILL) < 0)) kill(pid, SIGKILL); /* too late: nobody waits for it */
    return;
  }
  struct unclaimed *gone = orphan || pid <= 0 ? NULL : find_unclaimed(pid);
  if (!orphan && !gone) {
    char message[100] = "the fork server refused";
    if (pid != 0)
      snprintf(message, sizeof message, "the fork server named process %d, no child of ours", pid);
    c->events->refused(c, ECHILD, message);
    return;
  }
  struct unclaimed last = gone ? *gone : (struct unclaimed){0};
  fork_server_forget(c);
  if (orphan && c->launch->memory) { /* before its first input, which it may be waiting for */
    struct rlimit memory = {c->launch->memory, c->launch->memory};
    prlimit(pid, RLIMIT_AS, &memory, NULL);
  }
  c->events->running(c, pid);
  if (gone) {
    c->events->reaped(c, last.status, &last.usage);
    return;
  }
  if (c->kill_at > now_ms) tree_signal(c, SIGTERM); /* it was killed while its server was asked */
  c->events->changed(c);
}

void command_close_child_fds(struct command *c) {
  for (int i = 0; i < 3; i++) {
    bool same = i > 0 && c->child_fds[i] == c->child_fds[0]; /* merged */
    if (c->child_fds[i] >= 0 && !same) close(c->child_fds[i]);
  }
  c->child_fds[0] = c->child_fds[1] = c->child_fds[2] = -1;
}

/* Sends the request if there is room for it; if not, server_ready will try again. */
void fork_server_ask(struct command *c) {
  uint32_t id = c->id; /* both ends are on this machine: its own byte order */
  struct iovec content = {&id, sizeof id};
  union {
    struct cmsghdr header;
    char space[CMSG_SPACE(sizeof c->child_fds)];
  } control;
  struct msghdr message = {.msg_iov = &content,
                           .msg_iovlen = 1,
                           .msg_control = &control,
                           .msg_controllen = sizeof control};
  memset(&control, 0, sizeof control);
  struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
  rights->cmsg_level = SOL_SOCKET;
  rights->cmsg_type = SCM_RIGHTS;
  rights->cmsg_len = CMSG_LEN(sizeof c->child_fds);
  memcpy(CMSG_DATA(rights), c->child_fds, sizeof c->child_fds);
  if (sendmsg(c->via->server, &message, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
    if (errno == EAGAIN || errno == ETOOMANYREFS || errno == EINTR) return;
    c->via = NULL;
    c->events->changed(c);
    return;
  }
  c->asked = true;
  outstanding++;
  command_close_child_fds(c);
  c->events->changed(c); /* its deadline counts from here */
}

static void read_answers(struct command *server) {
  for (;;) {
    uint32_t words[2];
    ssize_t size = recv(server->server, words, sizeof words, MSG_DONTWAIT | MSG_TRUNC);
    if (size < 0 && errno == EINTR) continue;
    if (size < 0 && errno == EAGAIN) return;
    if (size != sizeof words) break; /* its end, or nonsense: the same to us */
    answer(server, words[0], (pid_t)words[1]);
  }
  close(server->server);
  server->server = -1;
}

void fork_server_close(struct command *c) {
  if (c->server >= 0) read_answers(c);
  if (c->server >= 0) close(c->server);
  c->server = -1;
  if (!(c->launch->flags & SPAWN_FORKSERVER)) return;
  for (struct command *client = active_commands; client; client = client->next) {
    if (client->state != COMMAND_ASKED || client->via != c) continue;
    client->via = NULL; /* its own step says so */
    client->step_at = now_ms;
  }
}

static void server_ready(struct source *source, uint32_t events) {
  struct command *server =
      (struct command *)((char *)source - offsetof(struct command, server_source));
  (void)events;
  if (server->server >= 0) read_answers(server);
  if (server->server < 0) {
    fork_server_close(server);
    return;
  }
  for (struct command *client = active_commands, *next; client; client = next) {
    next = client->next;
    if (client->state == COMMAND_ASKED && client->via == server && !client->asked)
      fork_server_ask(client);
  }
}

int fork_server_open(struct command *c, int *child) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0) return errno;
  c->server = ends[0];
  *child = ends[1];
  c->server_source.ready = server_ready;
  return watch_add(c->server, &c->server_source, EPOLLIN | EPOLLOUT | EPOLLRDHUP) ? 0 : errno;
}
