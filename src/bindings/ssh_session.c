/* Checks sessions, and turns libssh2's errors into nil, message, code. */
#include "ssh_session.h"

#include <lauxlib.h>

#include "fail.h"

static const char *code_name(int code) {
  static const struct {
    int code;
    const char *name;
  } names[] = {
      {LIBSSH2_ERROR_KEX_FAILURE, "EKEX"},
      {LIBSSH2_ERROR_KEY_EXCHANGE_FAILURE, "EKEX"},
      {LIBSSH2_ERROR_METHOD_NONE, "EKEX"},
      {LIBSSH2_ERROR_HOSTKEY_INIT, "EHOSTKEY"},
      {LIBSSH2_ERROR_HOSTKEY_SIGN, "EHOSTKEY"},
      {LIBSSH2_ERROR_BANNER_RECV, "EBANNER"},
      {LIBSSH2_ERROR_AUTHENTICATION_FAILED, "EAUTH"},
      {LIBSSH2_ERROR_PUBLICKEY_UNVERIFIED, "EAUTH"},
      {LIBSSH2_ERROR_AGENT_PROTOCOL, "EAUTH"},
      {LIBSSH2_ERROR_FILE, "EKEYFILE"},
      {LIBSSH2_ERROR_KEYFILE_AUTH_FAILED, "EKEYFILE"},
      {LIBSSH2_ERROR_CHANNEL_FAILURE, "ECHANNEL"},
      {LIBSSH2_ERROR_CHANNEL_REQUEST_DENIED, "EDENIED"},
      {LIBSSH2_ERROR_CHANNEL_CLOSED, "EPIPE"},
      {LIBSSH2_ERROR_CHANNEL_EOF_SENT, "EPIPE"},
      {LIBSSH2_ERROR_SOCKET_DISCONNECT, "ECONNRESET"},
      {LIBSSH2_ERROR_SOCKET_RECV, "ECONNRESET"},
      {LIBSSH2_ERROR_SOCKET_SEND, "ECONNRESET"},
      {LIBSSH2_ERROR_ALLOC, "ENOMEM"},
  };
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (names[i].code == code) return names[i].name;
  return "EPROTO";
}

int ssh_fail(lua_State *L, struct session *session, int code) {
  if (code == LIBSSH2_ERROR_EAGAIN) {
    fail(L, "EAGAIN", "would block");
    lua_pushstring(L, session->half_sent ? "w" : "r");
    return 4;
  }
  char *message = NULL;
  libssh2_session_last_error(session->raw, &message, NULL, 0);
  return fail(L, code_name(code), "%s", message != NULL && *message ? message : "failed");
}

int ssh_done(lua_State *L, struct session *session, int code) {
  if (code < 0) return ssh_fail(L, session, code);
  lua_pushboolean(L, 1);
  return 1;
}

struct session *ssh_check_session(lua_State *L) {
  struct session *session = luaL_checkudata(L, 1, SSH_SESSION);
  luaL_argcheck(L, session->raw != NULL, 1, "the session is closed");
  return session;
}
