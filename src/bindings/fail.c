/* Returns nil, message, code. */
#include "fail.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <uv.h>

int fail(lua_State *L, const char *code, const char *format, ...) {
  char message[1024]; /* on the stack: a longjmp out of lua_pushstring then leaks nothing */
  va_list args;
  va_start(args, format);
  vsnprintf(message, sizeof message, format, args);
  va_end(args);
  lua_pushnil(L);
  lua_pushstring(L, message);
  lua_pushstring(L, code);
  return 3;
}

int fail_errno(lua_State *L, int err, const char *what) {
  return fail(L, uv_err_name(uv_translate_sys_error(err)), "%s: %s", what, strerror(err));
}
