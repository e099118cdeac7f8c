/* Describes an SSH session for ssh.c and ssh_channel.c. */
#ifndef RUNNER_SSH_SESSION_H
#define RUNNER_SSH_SESSION_H

#include <libssh2.h>
#include <lua.h>
#include <stdbool.h>
#include <stddef.h>

#define SSH_SESSION "runner.ssh.session"

enum ssh_stage {
  SSH_CONNECTING, /* libssh2 does not know the socket */
  SSH_HANDSHAKING,
  SSH_ESTABLISHED,
  SSH_STARTED, /* a command was: from then on the host sends without delay */
  SSH_FREEING, /* the socket callbacks fail at once */
};

/* What the next call of the signing callback does. */
enum ssh_signing {
  SSH_SIGN_ASK,     /* carries out what is to be signed */
  SSH_SIGN_GIVEN,   /* hands over the signature */
  SSH_SIGN_REFUSED, /* fails: the key agent would not sign */
};

struct session {
  LIBSSH2_SESSION *raw; /* NULL = closed */
  int fd;
  int watch; /* an epoll of this socket alone, see session_watch */
  enum ssh_stage stage;
  bool half_sent;   /* the socket took less than libssh2 offered last */
  bool leave_input; /* what comes stays in the socket for now */
  lua_Integer received;
  enum ssh_signing signing;
  unsigned char *to_sign; /* what the key agent has to sign, on its way to Lua */
  size_t to_sign_size;
  const char *signature; /* borrowed from the Lua stack during a call */
  size_t signature_size;
};

/* [-0, +0, v] Argument 1, which must be open. */
struct session *ssh_check_session(lua_State *L);

/* [-0, +3|+4, m] nil, message, code for libssh2's `code`; with EAGAIN also what to wait for. */
int ssh_fail(lua_State *L, struct session *session, int code);

/* [-0, +1|+3|+4, m] true, or the same. */
int ssh_done(lua_State *L, struct session *session, int code);

#endif
