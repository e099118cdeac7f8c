/* Runs libxml2's push parser as xml_parse.h says: its callbacks append records to one buffer and know no lua_State.
 *
 * Safety: no DOCTYPE, no entities, no network, nothing on stderr; depth, text, attributes, names and the size of a tag
 * are capped. What XML forbids but reports contain is mended on the way in (xml_clean.h). */
#include "xml_parse.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAMES_LIMIT    (8u << 20) /* bytes of distinct names */
#define NAMESPACES_MAX 64         /* declared at one place: libxml2 searches them one by one */
#define TAG_LIMIT      ((size_t)16 << 20) /* bytes of one tag */

#if LIBXML_VERSION >= 21200
typedef const xmlError *parser_error;
#else
typedef xmlError *parser_error;
#endif

struct level {
  size_t record; /* offset of the START record; only inside a whole element */
  uint32_t children;
  uint32_t namespaces; /* declared here and above */
  bool has_elements;
};

/* ------------------------------------------------------------------- records, written by the parser */

/* Only the first reason counts. */
__attribute__((format(printf, 3, 4))) static void give_up(struct parse *parse, const char *code,
                                                          const char *format, ...) {
  if (parse->code != NULL) return;
  parse->code = code;
  parse->line = parse->parser->input != NULL ? parse->parser->input->line : 0;
  va_list args;
  va_start(args, format);
  vsnprintf(parse->message, sizeof parse->message, format, args);
  va_end(args);
}

/* For the callbacks; on_error must not, the parser is in the middle of something there and stops by itself. */
#define STOP(parse, ...) (give_up(parse, __VA_ARGS__), xmlStopParser((parse)->parser))

/* Room for `size` more bytes in the queue; NULL: the parse has failed. The caller adds to queue_size. */
static void *reserve(struct parse *parse, size_t size) {
  if (parse->queue_capacity - parse->queue_size < size) {
    size_t capacity = parse->queue_capacity * 2;
    if (capacity < parse->queue_size + size) capacity = parse->queue_size + size;
    char *queue = realloc(parse->queue, capacity);
    if (queue == NULL) {
      STOP(parse, "ENOMEM", "out of memory");
      return NULL;
    }
    parse->queue = queue;
    parse->queue_capacity = capacity;
  }
  return parse->queue + parse->queue_size;
}

static void get_record(const struct parse *parse, size_t offset, struct record *record) {
  memcpy(record, parse->queue + offset, sizeof *record);
}

static void put_record(struct parse *parse, size_t offset, const struct record *record) {
  memcpy(parse->queue + offset, record, sizeof *record);
}

/* The innermost open element; at depth 0 the document. */
static struct level *top(struct parse *parse) { return &parse->levels[parse->depth]; }

static bool collecting(const struct parse *parse) { return parse->whole_depth > 0; }

/* The children of a whole element that no longer fit are left out, not the element itself. */
static bool is_full(const struct parse *parse) {
  if (!collecting(parse)) return false;
  return parse->queue_size - parse->levels[parse->whole_depth].record >=
         parse->options.element_limit;
}

static uint32_t next_index(struct parse *parse) {
  return collecting(parse) ? ++top(parse)->children : 0;
}

static bool is_continuation(char byte) { return (byte & 0xC0) == 0x80; }

/* The size of text[0..size) without a character that is cut off at its end. */
static size_t whole_characters(const char *text, size_t size) {
  size_t start = size;
  while (start > 0 && is_continuation(text[start - 1])) start--;
  if (start == 0) return size;
  unsigned char lead = (unsigned char)text[start - 1];
  size_t length = lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  return start - 1 + length > size ? start - 1 : size;
}

/* The text of `size` bytes at `offset` is a head of limit/2 bytes and more: leaves the head, a note of how many of
 * `total` bytes are missing, and the last limit/2 bytes. Returns the new size, at most 64 more than the limit. */
static size_t abridge(struct parse *parse, size_t offset, size_t size, size_t total) {
  char *text = parse->queue + offset;
  size_t half = parse->options.text_limit / 2, head = whole_characters(text, half),
         tail = size - half;
  while (tail < size && is_continuation(text[tail])) tail++;
  char note[64];
  size_t kept = head + (size - tail);
  size_t note_size =
      (size_t)snprintf(note, sizeof note, "\n[... %zu bytes left out ...]\n", total - kept);
  memmove(text + head + note_size, text + tail, size - tail);
  memcpy(text + head, note, note_size);
  return head + note_size + (size - tail);
}

/* Ends the run of text before a tag. White space beside elements is layout. */
static void close_text(struct parse *parse, bool before_element) {
  if (!parse->text_open) return;
  parse->text_open = false;
  bool layout =
      parse->text_blank && (before_element || !collecting(parse) || top(parse)->has_elements);
  size_t bytes = parse->text + sizeof(struct record);
  if (layout || parse->queue_size == bytes) {
    parse->queue_size = parse->text;
    return;
  }
  struct record record = {.kind = RECORD_TEXT, .index = next_index(parse)};
  if (parse->text_total > parse->options.text_limit)
    parse->queue_size = bytes + abridge(parse, bytes, parse->queue_size - bytes, parse->text_total);
  record.size = (uint32_t)(parse->queue_size - bytes);
  put_record(parse, parse->text, &record);
}

static bool is_blank(const char *text, size_t size) {
  for (size_t i = 0; i < size; i++)
    if (text[i] != ' ' && text[i] != '\n' && text[i] != '\t' && text[i] != '\r') return false;
  return true;
}

static void on_text(void *data, const xmlChar *text, int length) {
  struct parse *parse = data;
  if (parse->code != NULL || length <= 0 || parse->depth == 0) return;
  size_t size = (size_t)length;
  if (!parse->text_open) {
    if (parse->skip_depth > 0 || is_full(parse)) {
      if (!is_blank((const char *)text, size)) parse->left_out += size;
      return;
    }
    if (reserve(parse, sizeof(struct record)) == NULL) return;
    parse->text = parse->queue_size;
    parse->queue_size += sizeof(struct record);
    parse->text_open = true;
    parse->text_blank = true;
    parse->text_total = 0;
  }
  char *end = reserve(parse, size + 64); /* and the note of abridge */
  if (end == NULL) return;
  memcpy(end, text, size);
  parse->queue_size += size;
  parse->text_total += size;
  if (parse->text_blank) parse->text_blank = is_blank(end, size);

  /* Past the limit the head stays and the rest slides: half of the limit is head, up to twice that is tail. */
  size_t half = parse->options.text_limit / 2, bytes = parse->text + sizeof(struct record);
  if (parse->queue_size - bytes > 4 * half) {
    memmove(parse->queue + bytes + half, parse->queue + parse->queue_size - half, half);
    parse->queue_size = bytes + 2 * half;
  }
}

bool parse_is_whole(const struct parse *parse, const xmlChar *name) {
  for (size_t i = 0; i < parse->whole_count; i++)
    if (parse->whole[i] == name) return true; /* both from the parser's dictionary */
  return false;
}

/* `attributes`: local name, prefix, URI, value, end of the value; five pointers each. */
static void on_start(void *data, const xmlChar *name, const xmlChar *prefix, const xmlChar *uri,
                     int namespace_count, const xmlChar **namespaces, int attribute_count,
                     int defaulted, const xmlChar **attributes) {
  (void)uri, (void)namespaces, (void)defaulted;
  struct parse *parse = data;
  if (parse->code != NULL) return;
  if (parse->skip_depth == 0) close_text(parse, true);
  struct level *parent = top(parse);
  parse->root_seen = true;
  if (parse->depth >= parse->options.depth_limit) {
    STOP(parse, "EDEPTH", "elements are nested more than %zu deep", parse->options.depth_limit);
    return;
  }
  parent->has_elements = true;
  struct level level = {.namespaces = parent->namespaces + (uint32_t)namespace_count};
  if (level.namespaces > NAMESPACES_MAX) {
    STOP(parse, "ESIZE", "more than %d namespaces", NAMESPACES_MAX);
    return;
  }
  parse->depth++;
  if (parse->skip_depth == 0 && is_full(parse)) parse->skip_depth = parse->depth;
  *top(parse) = level;
  if (parse->skip_depth > 0) {
    parse->left_out++;
    return;
  }

  size_t size = sizeof(struct record);
  for (int i = 0; i < attribute_count; i++)
    size += sizeof(struct attribute) + (size_t)(attributes[5 * i + 4] - attributes[5 * i + 3]);
  char *to = reserve(parse, size);
  if (to == NULL) return;
  struct record record = {
      .kind = RECORD_START, .size = (uint32_t)attribute_count, .prefix = prefix, .name = name};
  if (collecting(parse)) {
    record.index = ++parent->children;
  } else if (parse_is_whole(parse, name)) {
    parse->whole_depth = parse->depth;
    parse->left_out = 0;
  }
  top(parse)->record = parse->queue_size;
  memcpy(to, &record, sizeof record);
  to += sizeof record;
  for (int i = 0; i < attribute_count; i++, attributes += 5) {
    struct attribute attribute = {.prefix = attributes[1],
                                  .name = attributes[0],
                                  .size = (size_t)(attributes[4] - attributes[3])};
    memcpy(to, &attribute, sizeof attribute);
    memcpy(to + sizeof attribute, attributes[3], attribute.size);
    to += sizeof attribute + attribute.size;
  }
  parse->queue_size += size;
}

/* Writes the END, and into its START what was not known there. */
static void on_end(void *data, const xmlChar *name, const xmlChar *prefix, const xmlChar *uri) {
  (void)uri;
  struct parse *parse = data;
  if (parse->code != NULL) return;
  if (parse->skip_depth > 0) {
    if (parse->skip_depth == parse->depth) parse->skip_depth = 0;
    parse->depth--;
    return;
  }
  close_text(parse, false);
  if (reserve(parse, sizeof(struct record)) == NULL) return;
  struct record end = {.kind = RECORD_END, .prefix = prefix, .name = name};
  if (collecting(parse)) {
    struct level *level = top(parse);
    struct record start;
    get_record(parse, level->record, &start);
    start.children = level->children;
    put_record(parse, level->record, &start);
    end.index = start.index;
    end.size = parse->left_out < UINT32_MAX ? (uint32_t)parse->left_out : UINT32_MAX;
  }
  put_record(parse, parse->queue_size, &end);
  parse->queue_size += sizeof end;
  if (parse->whole_depth == parse->depth) parse->whole_depth = 0;
  parse->depth--;
}

static void on_doctype(void *data, const xmlChar *name, const xmlChar *id, const xmlChar *system) {
  (void)name, (void)id, (void)system;
  struct parse *parse = data;
  STOP(parse, "EDOCTYPE", "a DOCTYPE is not accepted");
}

static void on_error(void *data, parser_error error) {
  struct parse *parse = data;
  if (error->level != XML_ERR_FATAL || parse->code != NULL) return;
  if (error->code == XML_ERR_NO_MEMORY) {
    give_up(parse, "ENOMEM", "out of memory, or too many different names");
  } else if (parse->consumed == 0) {
    give_up(parse, "ETRUNCATED", "it is empty");
  } else if (!parse->root_seen && error->code == XML_ERR_DOCUMENT_EMPTY) {
    give_up(parse, "EXML", "it holds no XML");
  } else if (parse->last && (parse->depth > 0 || !parse->root_seen) &&
             error->code != XML_ERR_TAG_NAME_MISMATCH) {
    give_up(parse, "ETRUNCATED", "it ends in the middle, elements still open: %zu", parse->depth);
  } else {
    const char *message = error->message != NULL ? error->message : "not well-formed";
    give_up(parse, "EXML", "%.*s", (int)strcspn(message, "\n"), message);
  }
  if (error->line > 0) parse->line = error->line;
}

static xmlSAXHandler handler = {
    .initialized = XML_SAX2_MAGIC,
    .startElementNs = on_start,
    .endElementNs = on_end,
    .characters = on_text,
    .ignorableWhitespace = on_text,
    .cdataBlock = on_text,
    .internalSubset = on_doctype,
    .serror = on_error,
};

/* ---------------------------------------------------------------------------------------- parsing */

/* Drops the records that were taken; what is still being written moves to the front. */
static void compact(struct parse *parse) {
  size_t shift = parse->queue_at;
  if (shift == 0) return;
  memmove(parse->queue, parse->queue + shift, parse->queue_size - shift);
  parse->queue_size -= shift;
  parse->queue_at = 0;
  if (parse->text_open) parse->text -= shift;
  if (collecting(parse))
    for (size_t i = parse->whole_depth; i <= parse->depth; i++) parse->levels[i].record -= shift;
}

size_t parse_ready(const struct parse *parse) {
  if (collecting(parse)) return parse->levels[parse->whole_depth].record;
  return parse->text_open ? parse->text : parse->queue_size;
}

void parse_feed(struct parse *parse, const char *bytes, size_t size, bool last) {
  compact(parse);
  size_t clean_size;
  const char *clean = clean_feed(&parse->clean, bytes, size, last, &clean_size);
  if (clean == NULL) give_up(parse, "ENOMEM", "out of memory");
  parse->consumed += size;
  if (clean_size > 0) xmlParseChunk(parse->parser, clean, (int)clean_size, 0);
  if (parse->clean.too_many)
    give_up(parse, "ESIZE", "a tag has more than %d attributes", CLEAN_ATTRIBUTES);
  if (parse->clean.held > TAG_LIMIT)
    give_up(parse, "ESIZE", "a tag is larger than %zu bytes", TAG_LIMIT);
  if (last && parse->code == NULL) {
    parse->last = true;
    xmlParseChunk(parse->parser, "", 0, 1);
    if (!parse->parser->wellFormed) give_up(parse, "EXML", "not well-formed");
  }
  if (parse->code != NULL || last) parse->done = true;
}

bool parse_unfinished(struct parse *parse) {
  if (!collecting(parse)) return false;
  if (parse->skip_depth == 0) close_text(parse, false);
  parse->queue_at = parse->levels[parse->whole_depth].record;
  return true;
}

/* ------------------------------------------------------------------------------- opening, closing */

bool parse_open(struct parse *parse, const struct parse_options *options) {
  *parse = (struct parse){.options = *options};
  parse->queue_capacity = (size_t)4 * CLEAN_SLICE;
  parse->queue = malloc(parse->queue_capacity);
  parse->levels = calloc(options->depth_limit + 1, sizeof *parse->levels);
  parse->parser = xmlCreatePushParserCtxt(&handler, parse, NULL, 0, NULL);
  if (!clean_open(&parse->clean, options->text_limit) || parse->queue == NULL ||
      parse->levels == NULL || parse->parser == NULL)
    return false;
  /* HUGE lifts limits on the whole that a large report meets; what one tag or name may cost is capped here. */
  /* NOENT: without it, &amp; in an attribute arrives as &#38;. No other entity can exist: they need a DOCTYPE. */
  xmlCtxtUseOptions(parse->parser, XML_PARSE_NONET | XML_PARSE_HUGE | XML_PARSE_NOENT);
  xmlDictSetLimit(parse->parser->dict, NAMES_LIMIT);
  return true;
}

void parse_close(struct parse *parse) {
  if (parse->parser != NULL) xmlFreeParserCtxt(parse->parser);
  clean_close(&parse->clean);
  free(parse->queue);
  free(parse->levels);
  *parse = (struct parse){.done = true};
}

bool parse_keep_whole(struct parse *parse, const char *name) {
  if (parse->whole_count == PARSE_WHOLE_MAX) return false;
  const xmlChar *key = xmlDictLookup(parse->parser->dict, (const xmlChar *)name, -1);
  if (key == NULL) return false;
  parse->whole[parse->whole_count++] = key;
  return true;
}
