/* runner.core.ssh: takes one step at a time of a channel. A channel belongs to libssh2's session and keeps ours
 * alive by user value; closing a session frees its channels too, so a channel asks its session first. */
#include "ssh_channel.h"

#include <lauxlib.h>
#include <libssh2.h>
#include <string.h>

#include "bindings.h"
#include "fail.h"
#include "ssh_session.h"

#define SSH_CHANNEL "runner.ssh.channel"
#define READ_SIZE   65536
#define NO_STREAM   2 /* 0 is stdout, 1 stderr, and there are no others */

struct channel {
  LIBSSH2_CHANNEL *raw; /* NULL = freed */
  struct session *session;
  bool gathering; /* exec: it is the read that has half sent something */
};

/* channel() -> channel. One at a time: until it is open, no other may be asked for. */
int ssh_channel_open(lua_State *L) {
  struct session *session = ssh_check_session(L);
  struct channel *channel = lua_newuserdatauv(L, sizeof *channel, 1);
  channel->raw = NULL;
  channel->session = session;
  channel->gathering = false;
  luaL_setmetatable(L, SSH_CHANNEL);
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, -2, 1);
  channel->raw = libssh2_channel_open_session(session->raw);
  if (channel->raw == NULL) return ssh_fail(L, session, libssh2_session_last_errno(session->raw));
  return 1;
}

/* [-0, +0, v] */
static struct channel *check_channel(lua_State *L) {
  struct channel *channel = luaL_checkudata(L, 1, SSH_CHANNEL);
  luaL_argcheck(L, channel->raw != NULL && channel->session->raw != NULL, 1,
                "the channel is closed");
  return channel;
}

/* exec(command) -> true. While it waits for the host's answer, libssh2 takes the answer that it finds on the socket for
 * this channel's, and fails if it is another's (_libssh2_packet_requirev returns -1 then). So all that has come is put
 * into its queue first, by a read of what no channel ever has (stdout and stderr may have come with the answer), and
 * nothing more is read meanwhile. */
static int channel_exec(lua_State *L) {
  struct channel *channel = check_channel(L);
  struct session *session = channel->session;
  size_t size;
  const char *command = luaL_checklstring(L, 2, &size);
  if (!session->half_sent || channel->gathering) {
    char none[1];
    ssize_t count = libssh2_channel_read_ex(channel->raw, NO_STREAM, none, sizeof none);
    if (count < 0 && count != LIBSSH2_ERROR_EAGAIN) return ssh_fail(L, session, (int)count);
    channel->gathering = session->half_sent; /* an answer to what the host has asked meanwhile */
    if (channel->gathering) return ssh_fail(L, session, LIBSSH2_ERROR_EAGAIN);
  }
  session->leave_input = true;
  int code = libssh2_channel_process_startup(channel->raw, "exec", 4, command, (unsigned)size);
  session->leave_input = false;
  if (code == 0) session->stage = SSH_STARTED;
  return ssh_done(L, session, code);
}

/* read(stream: 0 stdout, 1 stderr) -> bytes | nil, message, code; code "EOF" at the end of both. */
static int channel_read(lua_State *L) {
  struct channel *channel = check_channel(L);
  int stream = (int)luaL_checkinteger(L, 2);
  char buffer[READ_SIZE]; /* no Lua buffer: most reads find nothing */
  ssize_t count = libssh2_channel_read_ex(channel->raw, stream, buffer, sizeof buffer);
  if (count > 0) {
    lua_pushlstring(L, buffer, (size_t)count);
    return 1;
  }
  if (count == 0) return fail(L, "EOF", "end of stream");
  return ssh_fail(L, channel->session, (int)count);
}

/* write(bytes, offset) -> how many bytes from `offset` (0-based) were taken. After EAGAIN: the same string and
 * offset. */
static int channel_write(lua_State *L) {
  struct channel *channel = check_channel(L);
  size_t size;
  const char *bytes = luaL_checklstring(L, 2, &size);
  lua_Integer offset = luaL_checkinteger(L, 3);
  luaL_argcheck(L, offset >= 0 && (size_t)offset <= size, 3, "outside of the string");
  ssize_t count = libssh2_channel_write(channel->raw, bytes + offset, size - (size_t)offset);
  if (count < 0) return ssh_fail(L, channel->session, (int)count);
  lua_pushinteger(L, (lua_Integer)count);
  return 1;
}

static int channel_send_eof(lua_State *L) {
  struct channel *channel = check_channel(L);
  return ssh_done(L, channel->session, libssh2_channel_send_eof(channel->raw));
}

/* wait_closed() -> true once the host has closed its side; after "EOF" only. */
static int channel_wait_closed(lua_State *L) {
  struct channel *channel = check_channel(L);
  return ssh_done(L, channel->session, libssh2_channel_wait_closed(channel->raw));
}

/* exit_status() -> code, signal name | nil; after wait_closed. */
static int channel_exit_status(lua_State *L) {
  struct channel *channel = check_channel(L);
  char *name = NULL;
  size_t size = 0;
  libssh2_channel_get_exit_signal(channel->raw, &name, &size, NULL, NULL, NULL, NULL);
  char signal[32] = ""; /* copied first: pushing may raise, and libssh2's copy would leak */
  if (name != NULL) {
    memcpy(signal, name, size < sizeof signal ? size : sizeof signal - 1);
    libssh2_free(channel->session->raw, name);
  }
  if (*signal == '\0') {
    lua_pushinteger(L, libssh2_channel_get_exit_status(channel->raw));
    return 1;
  }
  lua_pushnil(L);
  lua_pushstring(L, signal);
  return 2;
}

/* free() -> true: closes this side, waits for the other, and forgets the channel. */
static int channel_free(lua_State *L) {
  struct channel *channel = luaL_checkudata(L, 1, SSH_CHANNEL);
  if (channel->raw != NULL && channel->session->raw != NULL) {
    int code = libssh2_channel_free(channel->raw);
    if (code == LIBSSH2_ERROR_EAGAIN) return ssh_fail(L, channel->session, code);
  }
  channel->raw = NULL;
  lua_pushboolean(L, 1);
  return 1;
}

/* No __gc: libssh2 frees what is left with the session, and freeing alone could have to wait. */
static const luaL_Reg channel_methods[] = {{"exec", channel_exec},
                                           {"read", channel_read},
                                           {"write", channel_write},
                                           {"send_eof", channel_send_eof},
                                           {"wait_closed", channel_wait_closed},
                                           {"exit_status", channel_exit_status},
                                           {"free", channel_free},
                                           {NULL, NULL}};

void ssh_channel_define(lua_State *L) { define_class(L, SSH_CHANNEL, channel_methods); }
