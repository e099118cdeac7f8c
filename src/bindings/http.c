/* runner.core.http: makes HTTP/1.1 transfers on libcurl's multi interface.
 *
 * Nothing here waits, and libcurl's callbacks never see Lua (http_transfer.c). Each multi has one descriptor that is
 * readable when there is something to do, an epoll set with libcurl's sockets and its timer: Lua polls that, calls
 * multi:action, and asks multi:ready for the transfers with news. (A luv handle for every socket would be told of a
 * refused connection by a line on stderr.)
 *
 * A multi owns its connections. A transfer owns its easy handle and its buffers; it keeps its multi alive by user value
 * 1 and the bytes it is sending by user value 2. A transfer that is closed or collected leaves its multi at once; a
 * multi that is closed ends its transfers with ECANCELED. */
#include <lauxlib.h>
#include <stdbool.h>
#include <string.h>

#include "bindings.h"
#include "fail.h"
#include "http_transfer.h"
#include "libcurl.h"

#define MULTI    "runner.http.multi"
#define TRANSFER "runner.http.transfer"

/* [-0, +0, v] */
static struct http_transfer *check_transfer(lua_State *L) {
  struct http_transfer *transfer = luaL_checkudata(L, 1, TRANSFER);
  if (transfer->easy == NULL) luaL_argerror(L, 1, "the transfer is closed");
  return transfer;
}

/* [-0, +3, m] */
static int fail_transfer(lua_State *L, const struct http_transfer *transfer) {
  const char *code = http_transfer_code(transfer);
  if (transfer->result == CURLE_COULDNT_CONNECT && transfer->os_error != 0)
    return fail(L, code, "cannot connect: %s", strerror((int)transfer->os_error));
  return fail(L, code, "%s", http_transfer_message(transfer));
}

/* transfer:close(): ends it whatever its state. [-0, +0, v] */
static int transfer_close(lua_State *L) {
  http_transfer_close(luaL_checkudata(L, 1, TRANSFER));
  return 0;
}

/* transfer:head() -> status, bytes (status line and headers of the final response) | nil, message, code.
 * EAGAIN here and below: until multi:ready names this transfer. */
static int transfer_head(lua_State *L) {
  struct http_transfer *transfer = check_transfer(L);
  if (transfer->head_complete) {
    lua_pushinteger(L, transfer->status);
    lua_pushlstring(L, transfer->head.bytes, transfer->head.size);
    return 2;
  }
  if (!transfer->done) return fail(L, "EAGAIN", "no response yet");
  if (transfer->result != CURLE_OK) return fail_transfer(L, transfer);
  return fail(L, "EPROTO", "the answer is not HTTP");
}

/* transfer:read() -> bytes | nil (end of the body) | nil, message, code. */
static int transfer_read(lua_State *L) {
  struct http_transfer *transfer = check_transfer(L);
  if (transfer->body.size > 0) {
    lua_pushlstring(L, transfer->body.bytes, transfer->body.size);
    transfer->body.size = 0;
    if (transfer->receive_paused) {
      transfer->receive_paused = false;
      http_transfer_apply_pauses(transfer);
    }
    return 1;
  }
  if (!transfer->done) return fail(L, "EAGAIN", "no bytes yet");
  if (transfer->result != CURLE_OK) return fail_transfer(L, transfer);
  lua_pushnil(L);
  return 1;
}

/* transfer:wants() -> boolean: the request's body is written piece by piece and the last piece is gone. */
static int transfer_wants(lua_State *L) {
  const struct http_transfer *transfer = check_transfer(L);
  lua_pushboolean(L, transfer->send_paused && !transfer->out_ended && !transfer->done);
  return 1;
}

/* transfer:write(bytes?) -> true | nil, message, "EAGAIN": the next piece of the request's body; none: that was all.
 * The last piece must be gone (transfer:wants). */
static int transfer_write(lua_State *L) {
  struct http_transfer *transfer = check_transfer(L);
  size_t size = 0;
  const char *bytes = luaL_optlstring(L, 2, NULL, &size);
  luaL_argcheck(L, transfer->upload && !transfer->out_ended, 1, "not an open upload");
  if (transfer->out_size > 0) return fail(L, "EAGAIN", "the last piece is still being sent");
  lua_settop(L, 2);
  lua_setiuservalue(L, 1, 2); /* nil lets go of the last piece */
  transfer->out = bytes;
  transfer->out_size = size;
  transfer->out_ended = bytes == NULL;
  if (transfer->send_paused && (size > 0 || transfer->out_ended)) {
    transfer->send_paused = false;
    http_transfer_apply_pauses(transfer);
  }
  lua_pushboolean(L, 1);
  return 1;
}

/* Options of multi:add. The strings stay anchored in the options' table, and libcurl copies them. */

/* [-0, +0, v] NULL when absent. */
static const char *string_option(lua_State *L, const char *name) {
  lua_getfield(L, 2, name);
  if (!lua_isnil(L, -1) && lua_type(L, -1) != LUA_TSTRING)
    luaL_argerror(L, 2, lua_pushfstring(L, "field '%s' must be a string", name));
  const char *value = lua_tostring(L, -1);
  lua_pop(L, 1);
  return value;
}

/* [-0, +0, v] */
static bool boolean_option(lua_State *L, const char *name, bool otherwise) {
  lua_getfield(L, 2, name);
  bool value = lua_isnil(L, -1) ? otherwise : lua_toboolean(L, -1);
  lua_pop(L, 1);
  return value;
}

/* [-0, +0, v] headers = { "Name: value", … } */
static void take_headers(lua_State *L, struct http_transfer *transfer) {
  lua_getfield(L, 2, "headers"); /* [.., headers] */
  if (!lua_isnil(L, -1)) {
    if (!lua_istable(L, -1)) luaL_argerror(L, 2, "field 'headers' must be a list of strings");
    for (lua_Integer i = 1; lua_geti(L, -1, i) != LUA_TNIL; i++) { /* [.., headers, line] */
      const char *line = lua_tostring(L, -1);
      if (line == NULL) luaL_argerror(L, 2, "field 'headers' must be a list of strings");
      struct curl_slist *longer = libcurl.slist_append(transfer->headers, line);
      if (longer == NULL) luaL_error(L, "out of memory");
      transfer->headers = longer;
      lua_pop(L, 1);
    }
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
}

#define SET(option, value) \
  if (result == CURLE_OK) result = libcurl.easy_setopt(easy, option, value)

/* [-0, +0, v] The parts of the request that do not depend on its body. */
static CURLcode set_common(lua_State *L, CURL *easy, struct http_transfer *transfer) {
  CURLcode result = CURLE_OK;
  SET(CURLOPT_PROTOCOLS_STR, "http,https");
  SET(CURLOPT_URL, string_option(L, "url"));
  SET(CURLOPT_USERAGENT, string_option(L, "user_agent"));
  SET(CURLOPT_HTTPHEADER, transfer->headers);
  const char *unix_socket = string_option(L, "unix_socket");
  if (unix_socket != NULL) {
    SET(CURLOPT_UNIX_SOCKET_PATH, unix_socket);
    SET(CURLOPT_PROXY, ""); /* whatever the environment says */
  }
  lua_getfield(L, 2, "connect_timeout_ms");
  SET(CURLOPT_CONNECTTIMEOUT_MS, (long)lua_tointeger(L, -1)); /* 0 = libcurl's default */
  lua_pop(L, 1);
  const char *ca = string_option(L, "ca");
  if (ca != NULL) SET(CURLOPT_CAINFO, ca);
  SET(CURLOPT_SSLCERT, string_option(L, "cert"));
  SET(CURLOPT_SSLKEY, string_option(L, "key"));
  bool verify = boolean_option(L, "verify", true);
  SET(CURLOPT_SSL_VERIFYPEER, verify ? 1L : 0L);
  SET(CURLOPT_SSL_VERIFYHOST, verify ? 2L : 0L);
  return result;
}

/* [-0, +0, v] Method and body; the transfer is at index 3. */
static CURLcode set_body(lua_State *L, CURL *easy, struct http_transfer *transfer) {
  CURLcode result = CURLE_OK;
  const char *method = string_option(L, "method");
  const char *body = string_option(L, "body");
  transfer->upload = boolean_option(L, "upload", false);
  if (method == NULL) method = "GET";
  if (transfer->upload) {
    SET(CURLOPT_UPLOAD, 1L);
    /* Pieces cannot be sent twice, which libcurl would do when a kept connection turns out to be dead. */
    SET(CURLOPT_FRESH_CONNECT, 1L);
  } else if (body != NULL) {
    size_t size;
    lua_getfield(L, 2, "body");
    body = lua_tolstring(L, -1, &size);
    lua_setiuservalue(L, 3, 2); /* libcurl sends from the string itself */
    SET(CURLOPT_POST, 1L);
    SET(CURLOPT_POSTFIELDS, body);
    SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)size);
  } else if (strcmp(method, "HEAD") == 0) {
    SET(CURLOPT_NOBODY, 1L);
  }
  SET(CURLOPT_CUSTOMREQUEST, method);
  return result;
}

/* multi:add{ url=, method=, headers={ "Name: value", … }, body= | upload=true, unix_socket=, user_agent=,
 * connect_timeout_ms=, ca=, cert=, key=, verify= } -> transfer | nil, message, code. */
static int multi_add(lua_State *L) {
  struct http_multi *multi = luaL_checkudata(L, 1, MULTI);
  luaL_checktype(L, 2, LUA_TTABLE);
  luaL_argcheck(L, string_option(L, "url") != NULL, 2, "field 'url' is missing");
  lua_settop(L, 2);
  struct http_transfer *transfer =
      lua_newuserdatauv(L, sizeof *transfer, 2); /* [multi, options, transfer] */
  *transfer = (struct http_transfer){0};
  luaL_setmetatable(L, TRANSFER);
  if (multi->handle == NULL) return fail(L, "ECANCELED", "the client was closed");
  if (!http_transfer_open(transfer)) return luaL_error(L, "out of memory");
  take_headers(L, transfer);
  CURLcode result = set_common(L, transfer->easy, transfer);
  if (result == CURLE_OK) result = set_body(L, transfer->easy, transfer);
  if (result != CURLE_OK) return fail(L, "EINVAL", "%s", libcurl.easy_strerror(result));

  lua_pushvalue(L, 1);
  lua_setiuservalue(L, 3, 1);
  lua_getiuservalue(L, 1, 1); /* [.., transfer by address] */
  lua_pushvalue(L, 3);
  lua_rawsetp(L, -2, transfer);
  lua_settop(L, 3);
  CURLMcode code = http_transfer_join(transfer, multi);
  if (code != CURLM_OK) return fail(L, "EIO", "%s", libcurl.multi_strerror(code));
  return 1;
}

/* multi:action() -> true | nil, message, code: does what can be done now. Due when multi:fd is readable. */
static int multi_action(lua_State *L) {
  struct http_multi *multi = luaL_checkudata(L, 1, MULTI);
  if (multi->handle == NULL) return fail(L, "ECANCELED", "the client was closed");
  CURLMcode code = http_multi_act(multi);
  if (code != CURLM_OK) return fail(L, "EIO", "%s", libcurl.multi_strerror(code));
  lua_pushboolean(L, 1);
  return 1;
}

/* multi:fd() -> integer: readable when multi:action has something to do. */
static int multi_fd(lua_State *L) {
  const struct http_multi *multi = luaL_checkudata(L, 1, MULTI);
  luaL_argcheck(L, multi->handle != NULL, 1, "the multi is closed");
  lua_pushinteger(L, multi->epoll);
  return 1;
}

/* multi:ready() -> transfer | nil: the next one with a head, bytes, an end, or room for its request's body. */
static int multi_ready(lua_State *L) {
  struct http_multi *multi = luaL_checkudata(L, 1, MULTI);
  const struct http_transfer *transfer = http_multi_next_ready(multi);
  if (transfer == NULL) return 0;
  lua_getiuservalue(L, 1, 1);
  lua_rawgetp(L, -1, transfer);
  return 1;
}

/* multi:close(): ends every transfer and connection. [-0, +0, v] */
static int multi_close(lua_State *L) {
  http_multi_close(luaL_checkudata(L, 1, MULTI));
  return 0;
}

/* multi() -> multi | nil, message, code. */
static int http_multi(lua_State *L) {
  struct http_multi *multi = lua_newuserdatauv(L, sizeof *multi, 1);
  *multi = (struct http_multi){.epoll = -1, .timer = -1};
  luaL_setmetatable(L, MULTI);
  /* User value 1: transfers by address. Weak, for a transfer that was dropped is to be collected. */
  lua_newtable(L);
  lua_createtable(L, 0, 1);
  lua_pushliteral(L, "v");
  lua_setfield(L, -2, "__mode");
  lua_setmetatable(L, -2);
  lua_setiuservalue(L, -2, 1);
  int err = http_multi_open(multi);
  if (err != 0) return fail_errno(L, err, "cannot watch connections");
  return 1;
}

static const luaL_Reg transfer_methods[] = {{"head", transfer_head},   {"read", transfer_read},
                                            {"wants", transfer_wants}, {"write", transfer_write},
                                            {"close", transfer_close}, {"__close", transfer_close},
                                            {"__gc", transfer_close},  {NULL, NULL}};

static const luaL_Reg multi_methods[] = {
    {"add", multi_add},     {"action", multi_action}, {"fd", multi_fd},      {"ready", multi_ready},
    {"close", multi_close}, {"__close", multi_close}, {"__gc", multi_close}, {NULL, NULL}};

static const luaL_Reg functions[] = {{"multi", http_multi}, {NULL, NULL}};

int luaopen_runner_core_http(lua_State *L) {
  static bool initialised = false; /* once a process, on its main thread before any other runs */
  const char *problem = libcurl_load();
  if (problem == NULL && !initialised) {
    CURLcode result = libcurl.global_init(CURL_GLOBAL_DEFAULT);
    if (result != CURLE_OK) problem = libcurl.easy_strerror(result);
  }
  if (problem != NULL) return luaL_error(L, "libcurl cannot start: %s", problem);
  initialised = true;
  define_class(L, TRANSFER, transfer_methods);
  define_class(L, MULTI, multi_methods);
  luaL_newlib(L, functions);
  return 1;
}
