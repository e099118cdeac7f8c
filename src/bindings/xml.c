/* runner.core.xml: reads XML from strangers, value by value.
 *
 * next() parses only as far as the next event. Elements named in `whole` come as one table, so that a document of many
 * small ones costs one call each. The work is done in xml_parse.c; here its records become Lua values.
 *
 * Ownership: the reader owns the parse, the file descriptor and its buffer until close, which is idempotent. Bytes
 * given to feed stay anchored as its user value until they are parsed. */
#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bindings.h"
#include "fail.h"
#include "xml/xml_parse.h"

#define READER "runner.xml.reader"

struct reader {
  struct parse parse;
  bool open;
  int fd; /* -1: bytes come from feed */
  char *slice;
  const char *fed; /* what feed gave; the string is the user value */
  size_t fed_size;
  bool ended; /* feed(nil) came */
};

/* [-0, +1, m] */
static void push_text(lua_State *L, struct reader *reader, const char *text, size_t size) {
  if (!reader->parse.clean.marks) {
    lua_pushlstring(L, text, size);
    return;
  }
  luaL_Buffer copy; /* a raise must not leave a record half restored */
  char *to = luaL_buffinitsize(L, &copy, size);
  memcpy(to, text, size);
  luaL_pushresultsize(&copy, clean_restore(to, size));
}

/* [-0, +1, m] */
static void push_name(lua_State *L, const xmlChar *prefix, const xmlChar *name) {
  if (prefix == NULL)
    lua_pushstring(L, (const char *)name);
  else
    lua_pushfstring(L, "%s:%s", (const char *)prefix, (const char *)name);
}

/* [-0, +0, m] Sets the attributes that follow a START record in the table at the top; returns the offset after. */
static size_t set_attributes(lua_State *L, struct reader *reader, size_t offset, uint32_t count) {
  for (uint32_t i = 0; i < count; i++) {
    struct attribute attribute;
    memcpy(&attribute, reader->parse.queue + offset, sizeof attribute);
    offset += sizeof attribute;
    push_name(L, attribute.prefix, attribute.name);
    push_text(L, reader, reader->parse.queue + offset, attribute.size);
    lua_rawset(L, -3);
    offset += attribute.size;
  }
  return offset;
}

/* [-0, +1, m] Pushes the element whose START is at queue_at; returns the offset after its END, or of the end of the
 * records when it is unfinished. */
static size_t push_element(lua_State *L, struct reader *reader, size_t *left_out) {
  size_t offset = reader->parse.queue_at, depth = 0;
  luaL_checkstack(L, (int)reader->parse.options.depth_limit + 8, "elements nested too deep");
  while (offset < reader->parse.queue_size) { /* stack: [.., element, child, grandchild..] */
    struct record record;
    memcpy(&record, reader->parse.queue + offset, sizeof record);
    offset += sizeof record;
    switch (record.kind) {
    case RECORD_START:
      lua_createtable(L, (int)(record.children < 64 ? record.children : 64), (int)record.size + 1);
      lua_pushstring(L, (const char *)record.name);
      lua_rawseti(L, -2, 0);
      offset = set_attributes(L, reader, offset, record.size);
      depth++;
      break;
    case RECORD_TEXT:
      push_text(L, reader, reader->parse.queue + offset, record.size);
      lua_rawseti(L, -2, record.index);
      offset += record.size;
      break;
    default:
      depth--;
      *left_out = record.size;
      if (depth == 0) return offset;
      lua_rawseti(L, -2, record.index);
      break;
    }
  }
  for (; depth > 1; depth--) lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
  return offset;
}

/* [-0, +n, m] Pushes the event at queue_at and moves past it. */
static int push_event(lua_State *L, struct reader *reader) {
  struct record record;
  memcpy(&record, reader->parse.queue + reader->parse.queue_at, sizeof record);
  size_t offset = reader->parse.queue_at + sizeof record, left_out = 0;
  switch (record.kind) {
  case RECORD_START:
    if (parse_is_whole(&reader->parse, record.name)) {
      lua_pushliteral(L, "element");
      reader->parse.queue_at = push_element(L, reader, &left_out);
      lua_pushinteger(L, (lua_Integer)left_out);
      return 3;
    }
    lua_pushliteral(L, "start");
    lua_pushstring(L, (const char *)record.name);
    lua_createtable(L, 0, (int)record.size);
    reader->parse.queue_at = set_attributes(L, reader, offset, record.size);
    return 3;
  case RECORD_TEXT:
    lua_pushliteral(L, "text");
    push_text(L, reader, reader->parse.queue + offset, record.size);
    reader->parse.queue_at = offset + record.size;
    return 2;
  default:
    lua_pushliteral(L, "end");
    lua_pushstring(L, (const char *)record.name);
    reader->parse.queue_at = offset;
    return 2;
  }
}

static struct reader *check_reader(lua_State *L) { return luaL_checkudata(L, 1, READER); }

static struct reader *check_open(lua_State *L) {
  struct reader *reader = check_reader(L);
  luaL_argcheck(L, reader->open, 1, "the reader is closed");
  return reader;
}

/* reader:close(). [-0, +0, v] */
static int reader_close(lua_State *L) {
  struct reader *reader = check_reader(L);
  reader->open = false;
  if (reader->fd >= 0) close(reader->fd);
  reader->fd = -1;
  free(reader->slice);
  reader->slice = NULL;
  parse_close(&reader->parse);
  lua_pushnil(L);
  lua_setiuservalue(L, 1, 1);
  return 0;
}

/* reader:feed(bytes | nil): the next bytes; nil when none follow. Only after next() said "EAGAIN". */
static int reader_feed(lua_State *L) {
  struct reader *reader = check_open(L);
  luaL_argcheck(L, reader->fd < 0, 1, "the reader reads a file");
  luaL_argcheck(L, reader->fed_size == 0 && !reader->ended, 2, "earlier bytes are not used up");
  if (lua_isnoneornil(L, 2)) {
    reader->ended = true;
    return 0;
  }
  size_t size;
  const char *bytes = luaL_checklstring(L, 2, &size);
  if (reader->parse.done) return 0; /* after an error the rest does not matter */
  lua_settop(L, 2);
  lua_setiuservalue(L, 1, 1);
  reader->fed = bytes;
  reader->fed_size = size;
  return 0;
}

/* One slice of input into the parse: 0, or the number of results pushed when that cannot be. [-0, +0|3, m] */
static int parse_more(lua_State *L, struct reader *reader) {
  if (reader->fd >= 0) {
    ssize_t got;
    do got = read(reader->fd, reader->slice, CLEAN_SLICE);
    while (got < 0 && errno == EINTR);
    if (got < 0) return fail_errno(L, errno, "read");
    parse_feed(&reader->parse, reader->slice, (size_t)got, got == 0);
    return 0;
  }
  if (reader->fed_size == 0 && !reader->ended) return fail(L, "EAGAIN", "more bytes are needed");
  size_t size = reader->fed_size < CLEAN_SLICE ? reader->fed_size : CLEAN_SLICE;
  reader->fed_size -= size;
  parse_feed(&reader->parse, reader->fed, size, reader->ended && reader->fed_size == 0);
  reader->fed += size;
  if (reader->parse.done) reader->fed_size = 0;
  return 0;
}

/* reader:next() -> "start", name, attributes | "end", name | "text", text | "element", element, left_out
 *                | nil (the end) | nil, message, code, unfinished element | nil, line */
static int reader_next(lua_State *L) {
  struct reader *reader = check_open(L);
  struct parse *parse = &reader->parse;
  for (;;) {
    if (parse->queue_at < parse_ready(parse)) return push_event(L, reader);
    if (parse->done) break;
    int failed = parse_more(L, reader);
    if (failed > 0) return failed;
  }
  if (parse->code == NULL) {
    lua_pushnil(L);
    return 1;
  }
  fail(L, parse->code, "%s", parse->message);
  size_t left_out;
  if (parse_unfinished(parse))
    push_element(L, reader, &left_out);
  else
    lua_pushnil(L);
  lua_pushinteger(L, parse->line);
  return 5;
}

/* reader:mended() -> what was not as XML wants it; see lua/runner/meta/xml.lua. */
static int reader_mended(lua_State *L) {
  struct clean *clean = &check_open(L)->parse.clean;
  const struct {
    const char *name;
    size_t count;
  } tallies[] = {{"controls", clean->controls},
                 {"invalid", clean->invalid + clean->encoding.invalid},
                 {"ampersands", clean->ampersands},
                 {"brackets", clean->brackets},
                 {"shortened", clean->shortened}};
  lua_createtable(L, 0, 7);
  for (size_t i = 0; i < sizeof tallies / sizeof *tallies; i++) {
    lua_pushinteger(L, (lua_Integer)tallies[i].count);
    lua_setfield(L, -2, tallies[i].name);
  }
  lua_pushstring(L, clean->encoding.name);
  lua_setfield(L, -2, "encoding");
  lua_pushboolean(L, clean->encoding.wrong);
  lua_setfield(L, -2, "wrong_encoding");
  return 1;
}

/* [-0, +0, v] The integer option `name` of the table at 1, if there is one. */
static size_t limit_option(lua_State *L, const char *name, lua_Integer default_, lua_Integer least,
                           lua_Integer most) {
  if (lua_isnil(L, 1)) return (size_t)default_;
  lua_getfield(L, 1, name);
  lua_Integer value = luaL_optinteger(L, -1, default_);
  lua_pop(L, 1);
  if (value < least || value > most)
    luaL_error(L, "%s must be from %I to %I", name, (LUAI_UACINT)least, (LUAI_UACINT)most);
  return (size_t)value;
}

/* [-0, +0, v] Takes the names in the `whole` option of the table at 1, if there is one. */
static void keep_whole(lua_State *L, struct parse *parse) {
  if (lua_isnil(L, 1)) return;
  if (lua_getfield(L, 1, "whole") != LUA_TNIL) {
    luaL_checktype(L, -1, LUA_TTABLE); /* [.., names] */
    lua_Integer count = luaL_len(L, -1);
    for (lua_Integer i = 1; i <= count; i++) {
      lua_geti(L, -1, i);
      if (!parse_keep_whole(parse, luaL_checkstring(L, -1)))
        luaL_error(L, "whole: more than %d names, or no memory", PARSE_WHOLE_MAX);
      lua_pop(L, 1);
    }
  }
  lua_pop(L, 1);
}

/* [-0, +1, v] A reader without input; options are at 1: a table or nil. */
static struct reader *push_reader(lua_State *L) {
  if (!lua_isnil(L, 1)) luaL_checktype(L, 1, LUA_TTABLE);
  struct parse_options options = {
      .text_limit = limit_option(L, "text_limit", 1 << 20, 64, 256 << 20),
      .element_limit = limit_option(L, "element_limit", 16 << 20, 1024, 1 << 30),
      .depth_limit = limit_option(L, "depth_limit", 200, 1, PARSE_DEPTH_MAX),
  };
  struct reader *reader = lua_newuserdatauv(L, sizeof *reader, 1);
  memset(reader, 0, sizeof *reader);
  reader->fd = -1;
  luaL_setmetatable(L, READER);
  reader->slice = malloc(CLEAN_SLICE);
  if (!parse_open(&reader->parse, &options) || reader->slice == NULL)
    luaL_error(L, "not enough memory"); /* collecting the userdata frees the rest */
  keep_whole(L, &reader->parse);
  reader->open = true;
  return reader;
}

/* reader(options?) -> reader: bytes come from feed(). */
static int xml_reader(lua_State *L) {
  lua_settop(L, 1);
  push_reader(L);
  return 1;
}

/* open(path, options?) -> reader | nil, message, code. Only regular files: a pipe in their place must not hang us. */
static int xml_open(lua_State *L) {
  const char *path = luaL_checkstring(L, 1);
  lua_settop(L, 2);
  lua_insert(L, 1);                       /* [options, path] */
  struct reader *reader = push_reader(L); /* owns the descriptor, whatever raises */
  reader->fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
  struct stat status = {0};
  int err = reader->fd < 0 || fstat(reader->fd, &status) != 0 ? errno
            : S_ISDIR(status.st_mode)                         ? EISDIR
            : !S_ISREG(status.st_mode)                        ? EINVAL
                                                              : 0;
  if (err == 0) return 1;
  if (reader->fd >= 0) close(reader->fd);
  reader->fd = -1;
  if (err == EINVAL) return fail(L, "EINVAL", "%s: not a regular file", path);
  return fail_errno(L, err, path);
}

static const luaL_Reg methods[] = {{"next", reader_next},
                                   {"feed", reader_feed},
                                   {"mended", reader_mended},
                                   {"close", reader_close},
                                   {"__close", reader_close},
                                   {"__gc", reader_close},
                                   {NULL, NULL}};

static const luaL_Reg functions[] = {{"reader", xml_reader}, {"open", xml_open}, {NULL, NULL}};

int luaopen_runner_core_xml(lua_State *L) {
  LIBXML_TEST_VERSION; /* also initialises the library: once, before any parser */
  define_class(L, READER, methods);
  luaL_newlib(L, functions);
  return 1;
}
