/* Mends XML as xml_clean.h says. Each call converts to UTF-8, then walks a small state machine that copies runs of
 * harmless bytes and stops only at what its state cares about. What cannot be decided without later bytes stays in `in`
 * for the next call. */
#include "xml_clean.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CARRY   16                                        /* the longest undecided tail */
#define IN      (CARRY + ENCODING_GROWTH * ENCODING_ROOM) /* what one call can bring */
#define OUT     (5 * IN + 64)                             /* what it can add: & becomes &amp; */
#define SECTION 4096 /* bytes after which a CDATA section is split */
#define LOOK    12   /* "&#x0010FFFF;" */

enum state { TEXT, TAG, VALUE, CDATA, COMMENT, INSTRUCTION, STATES };

/* stops[state][byte]: the byte needs a look in that state. */
static bool stops[STATES][256];

static void fill_stops(void) {
  static bool filled;
  if (filled) return;
  filled = true;
  static const char *const special[STATES] = {"<&]", ">\"'&", "\"'&", "]", "-", "?"};
  for (int state = 0; state < STATES; state++) {
    for (int byte = 0; byte < 256; byte++)
      stops[state][byte] =
          byte >= 0x80 || (byte < 0x20 && byte != '\t' && byte != '\n' && byte != '\r');
    for (const char *c = special[state]; *c != '\0'; c++) stops[state][(unsigned char)*c] = true;
  }
}

bool clean_open(struct clean *clean, size_t value_limit) {
  fill_stops();
  *clean = (struct clean){.value_limit = value_limit};
  bool opened = encoding_open(&clean->encoding);
  clean->in = malloc(IN);
  clean->out = malloc(OUT);
  clean->out_capacity = OUT;
  return opened && clean->in != NULL && clean->out != NULL;
}

void clean_close(struct clean *clean) {
  encoding_close(&clean->encoding);
  free(clean->in);
  free(clean->out);
  *clean = (struct clean){0};
}

/* Appends unless a comment, an instruction or the far end of an overlong value is being left out. */
static void emit(struct clean *clean, const char *bytes, size_t size) {
  if (clean->state == COMMENT || clean->state == INSTRUCTION) return;
  if (clean->state == VALUE) {
    size_t before = clean->value;
    clean->value += size;
    if (clean->value > clean->value_limit) {
      if (before >= clean->value_limit) return;
      /* The run that crosses the limit is cut where no character is: its start is a character's start. */
      size = clean->value_limit - before;
      while (size > 0 && (bytes[size] & 0xC0) == 0x80) size--;
      if (bytes[0] == '&') size = 0;
      clean->value = clean->value_limit + (clean->value - before - size);
    }
  }
  memcpy(clean->out + clean->out_size, bytes, size);
  clean->out_size += size;
}

static void emit_mark(struct clean *clean, unsigned char byte) {
  char mark[4] = {'\xF4', '\x8F', (char)(0xB8 | byte >> 6), (char)(0x80 | (byte & 0x3F))};
  clean->marks = true;
  emit(clean, mark, sizeof mark);
}

static bool is_mark(const unsigned char *b) {
  return b[0] == 0xF4 && b[1] == 0x8F && b[2] >= 0xB8 && b[2] <= 0xBB;
}

/* Size of the UTF-8 character at b; 0: there is none; -1: `size` bytes are too few to tell. */
static int character(const unsigned char *b, size_t size) {
  int length = b[0] >= 0xC2 && b[0] < 0xE0   ? 2
               : (b[0] & 0xF0) == 0xE0       ? 3
               : b[0] >= 0xF0 && b[0] < 0xF5 ? 4
                                             : 0;
  for (int i = 1; i < length; i++) {
    if ((size_t)i >= size) return -1;
    if ((b[i] & 0xC0) != 0x80) return 0;
    if (i == 1 && ((b[0] == 0xE0 && b[1] < 0xA0) || (b[0] == 0xED && b[1] >= 0xA0) ||
                   (b[0] == 0xF0 && b[1] < 0x90) || (b[0] == 0xF4 && b[1] >= 0x90)))
      return 0;
  }
  return length;
}

/* A byte from 0x80 up. Returns the bytes used; 0: more are needed. */
static size_t walk_high(struct clean *clean, const unsigned char *b, size_t size, bool last) {
  int length = character(b, size);
  if (length < 0 && !last) return 0;
  if (length <= 0) {
    clean->invalid++;
    emit_mark(clean, b[0]);
    return 1;
  }
  bool forbidden = b[0] == 0xEF && b[1] == 0xBF && b[2] >= 0xBE; /* U+FFFE, U+FFFF */
  if (forbidden) clean->controls++;
  if (forbidden || is_mark(b))
    for (int i = 0; i < length; i++) emit_mark(clean, b[i]);
  else
    emit(clean, (const char *)b, (size_t)length);
  return (size_t)length;
}

/* The number of &#…; in text[2..end), or UINT32_MAX. */
static uint32_t reference_code(const char *text, const char *end) {
  const char *at = text + 2;
  uint32_t base = 10, code = 0;
  if (at < end && *at == 'x') {
    base = 16;
    at++;
  }
  if (at == end) return UINT32_MAX;
  for (; at < end; at++) {
    uint32_t digit = *at >= '0' && *at <= '9'   ? (uint32_t)(*at - '0')
                     : *at >= 'a' && *at <= 'f' ? (uint32_t)(*at - 'a' + 10)
                     : *at >= 'A' && *at <= 'F' ? (uint32_t)(*at - 'A' + 10)
                                                : 16;
    if (digit >= base) return UINT32_MAX;
    code = code * base + digit;
    if (code > 0x10FFFF) return UINT32_MAX;
  }
  return code;
}

/* An ampersand. Returns the bytes used; 0: more are needed. */
static size_t walk_reference(struct clean *clean, const char *text, size_t size, bool last) {
  size_t look = size < LOOK ? size : LOOK;
  const char *end = memchr(text, ';', look);
  if (end == NULL && size < LOOK && !last) return 0;
  if (end != NULL) {
    size_t length = (size_t)(end - text) + 1;
    static const char *const names[] = {"&amp;", "&lt;", "&gt;", "&quot;", "&apos;"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
      if (length == strlen(names[i]) && memcmp(text, names[i], length) == 0) {
        emit(clean, text, length);
        return length;
      }
    uint32_t code = text[1] == '#' ? reference_code(text, end) : UINT32_MAX;
    if (code != UINT32_MAX) {
      bool control = code < 0x20 && code != '\t' && code != '\n' && code != '\r';
      bool surrogate = code >= 0xD800 && code < 0xE000;
      char bytes[4];
      size_t count = utf8_encode(code, bytes);
      bool mark = count == 4 && is_mark((const unsigned char *)bytes);
      if (!control && !surrogate && !mark && code != 0xFFFE && code != 0xFFFF) {
        emit(clean, text, length);
        return length;
      }
      clean->controls++;
      for (size_t i = 0; i < count; i++) emit_mark(clean, (unsigned char)bytes[i]);
      return length;
    }
  }
  clean->ampersands++;
  emit(clean, "&amp;", 5);
  return 1;
}

/* Does `what` start at text? -1: too few bytes to tell. */
static int starts(const char *text, size_t size, bool last, const char *what) {
  size_t length = strlen(what);
  if (memcmp(text, what, size < length ? size : length) != 0) return 0;
  return size >= length ? 1 : last ? 0 : -1;
}

/* A `<` in text. Returns the bytes used; 0: more are needed. */
static size_t walk_open(struct clean *clean, const char *text, size_t size, bool last) {
  static const struct {
    const char *text;
    enum state state;
  } openings[] = {{"<![CDATA[", CDATA}, {"<!--", COMMENT}, {"<?", INSTRUCTION}};
  for (size_t i = 0; i < sizeof openings / sizeof *openings; i++) {
    int is = starts(text, size, last, openings[i].text);
    if (is < 0) return 0;
    if (is == 0) continue;
    if (openings[i].state == CDATA) {
      emit(clean, text, 9);
      clean->section = clean->out_size;
    }
    clean->state = openings[i].state;
    return strlen(openings[i].text);
  }
  clean->tag = clean->out_size;
  emit(clean, text, 1);
  clean->attributes = 0;
  if (size > 1 && text[1] != '!') clean->state = TAG; /* a DOCTYPE is refused by the parser */
  return 1;
}

static void end_value(struct clean *clean) {
  clean->state = TAG;
  if (clean->value <= clean->value_limit) return;
  char note[64];
  int size = snprintf(note, sizeof note, " [... %zu bytes left out ...]",
                      clean->value - clean->value_limit);
  emit(clean, note, (size_t)size);
  clean->shortened++;
}

/* What ends a state at its delimiter. Returns the bytes used; 0: more are needed. */
static size_t walk_delimiter(struct clean *clean, const char *text, size_t size, bool last) {
  const char *end = clean->state == COMMENT       ? "-->"
                    : clean->state == INSTRUCTION ? "?>"
                                                  : "]]>"; /* TEXT, CDATA */
  int is = starts(text, size, last, end);
  if (is < 0) return 0;
  if (is == 0) {
    emit(clean, text, 1);
    return 1;
  }
  if (clean->state == TEXT) {
    emit(clean, "]]&gt;", 6);
    clean->brackets++;
  } else {
    emit(clean, text, strlen(end));
    clean->state = TEXT;
  }
  return strlen(end);
}

/* One byte its state stops at. Returns the bytes used; 0: more are needed. */
static size_t walk_stop(struct clean *clean, const char *text, size_t size, bool last) {
  unsigned char byte = (unsigned char)*text;
  if (byte >= 0x80) return walk_high(clean, (const unsigned char *)text, size, last);
  if (byte < 0x20) {
    clean->controls += clean->state != COMMENT && clean->state != INSTRUCTION;
    emit_mark(clean, byte);
    return 1;
  }
  switch (byte) {
  case '<': return size > 1 || last ? walk_open(clean, text, size, last) : 0;
  case '&': return walk_reference(clean, text, size, last);
  case ']':
  case '-':
  case '?': return walk_delimiter(clean, text, size, last);
  case '>':
    clean->state = TEXT;
    emit(clean, text, 1);
    return 1;
  default: break; /* a quote */
  }
  if (clean->state == TAG) {
    emit(clean, text, 1);
    clean->state = VALUE;
    clean->quote = *text;
    clean->value = 0;
    if (++clean->attributes > CLEAN_ATTRIBUTES) clean->too_many = true;
    return 1;
  }
  if (*text == clean->quote) end_value(clean);
  emit(clean, text, 1);
  return 1;
}

/* libxml2 2.9 parses one CDATA section of a push parser in quadratic time: sections are kept small. */
static void split_section(struct clean *clean) {
  static const char split[] = "]]><![CDATA[";
  emit(clean, split, sizeof split - 1);
  clean->section = clean->out_size;
}

static void walk(struct clean *clean, bool last) {
  const char *at = clean->in, *end = clean->in + clean->in_size;
  while (at < end) {
    if (clean->state == CDATA && clean->out_size - clean->section > SECTION) split_section(clean);
    const char *start = at;
    const bool *stop = stops[clean->state];
    while (at < end && !stop[(unsigned char)*at]) at++;
    if (clean->state == COMMENT || clean->state == INSTRUCTION) { /* lines still count */
      for (; start < at; start++)
        if (*start == '\n') clean->out[clean->out_size++] = '\n';
    } else if (at > start) {
      emit(clean, start, (size_t)(at - start));
    }
    if (at == end) break;
    size_t used = walk_stop(clean, at, (size_t)(end - at), last);
    if (used == 0) break;
    at += used;
  }
  clean->in_size = (size_t)(end - at);
  memmove(clean->in, at, clean->in_size);
}

/* Drops what the last call gave out and makes room for what this one can add. */
static bool make_room(struct clean *clean) {
  size_t held = clean->out_size - clean->given;
  memmove(clean->out, clean->out + clean->given, held);
  clean->out_size = held;
  clean->tag -= clean->given;
  clean->section -= clean->given;
  clean->given = 0;
  size_t capacity = clean->out_capacity;
  if (capacity - held < OUT) capacity = 2 * (held + OUT);
  if (held == 0) capacity = OUT; /* a huge tag is over */
  if (capacity == clean->out_capacity) return true;
  char *out = realloc(clean->out, capacity);
  if (out == NULL) return capacity < clean->out_capacity;
  clean->out = out;
  clean->out_capacity = capacity;
  return true;
}

const char *clean_feed(struct clean *clean, const char *bytes, size_t size, bool last,
                       size_t *out_size) {
  *out_size = 0;
  if (!make_room(clean)) return NULL;
  clean->in_size +=
      encoding_convert(&clean->encoding, bytes, size, last, clean->in + clean->in_size);
  if (clean->encoding.known) walk(clean, last);
  bool in_tag = !last && (clean->state == TAG || clean->state == VALUE);
  clean->given = in_tag ? clean->tag : clean->out_size;
  clean->held = clean->out_size - clean->given;
  *out_size = clean->given;
  return clean->out;
}

size_t clean_restore(char *text, size_t size) {
  char *to = text;
  const char *end = text + size;
  for (const char *at = text; at < end;) {
    if (end - at >= 4 && is_mark((const unsigned char *)at)) {
      *to++ = (char)((at[2] & 3) << 6 | (at[3] & 0x3F));
      at += 4;
    } else {
      *to++ = *at++;
    }
  }
  return (size_t)(to - text);
}
