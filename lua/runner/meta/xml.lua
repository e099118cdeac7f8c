---@meta
--- runner.core.xml, in C: a pull reader for XML from strangers. Never waits, except for the disk in `open`ed files.
---
--- DOCTYPE is refused, entities do not exist, nothing is fetched or printed. Depth, text, attributes and tags are
--- capped. Strings are UTF-8 whatever the document's encoding, except that bytes which XML forbids arrive as they were:
--- such a document is mended on the way in rather than lost (see `Reader:mended`).

---@class runner.core.xml
local xml = {}

---@class runner.xml.Options
---@field whole string[]? names of elements that come as one table, at most 16
---@field text_limit integer? bytes of one text (loses its middle, with a note) or attribute (its end);
--- default 1 MiB
---@field element_limit integer? bytes of a whole element, beyond which further children are left out: default 16 MiB
---@field depth_limit integer? default 200, at most 1000

--- An element as a table: [0] its name, attributes under their names, from 1 its children: strings and elements. White
--- space beside elements is dropped. A prefix stays part of an attribute's name, not of an element's.
---@alias runner.xml.Element table

---@class runner.xml.Reader closes itself at the end of a `<close>` variable
local Reader = {}

--- Read a regular file.
---@param path string
---@param options runner.xml.Options?
---@return runner.xml.Reader?
---@return string? message
---@return string? code "ENOENT", "EISDIR", "EINVAL" (not a regular file) …
function xml.open(path, options) end

--- Read bytes that come through `feed`.
---@param options runner.xml.Options?
---@return runner.xml.Reader
function xml.reader(options) end

--- The next event: "start", name, attributes · "end", name · "text", text · "element", element, left_out (how many
--- bytes and elements of it exceeded the limit). After the last one nil. On failure nil, message, code, unfinished,
--- line, where `unfinished` is what there is of the whole element that was cut off, if any. Events before the damage
--- come first.
---
--- Codes: "EAGAIN" (call `feed`) · "ETRUNCATED" · "EXML" (ill-formed) · "EDOCTYPE" · "EDEPTH" · "ESIZE" (a tag beyond
--- 16 MiB, 256 attributes, 64 namespaces) · "ENOMEM" · of a file: errno's names.
---@return string? event
---@return any name_text_element_or_message
---@return any attributes_left_out_or_code
---@return runner.xml.Element? unfinished
---@return integer? line
function Reader:next() end

--- The next bytes of the document, as many or few as there are; nil: none follow. Only after `next` said "EAGAIN".
---@param bytes string?
function Reader:feed(bytes) end

---@class runner.xml.Mended
---@field encoding string declared or found; "" before the first event
---@field wrong_encoding boolean unknown, or plainly not the one used: the bytes were read as UTF-8
---@field controls integer characters XML forbids, raw or as &#27;
---@field invalid integer bytes that are not in the encoding
---@field ampersands integer `&` that starts no reference; undefined entities such as &nbsp; are among them
---@field brackets integer ]]> in text
---@field shortened integer attributes beyond text_limit

--- What was wrong with the part read so far, and read all the same.
---@return runner.xml.Mended
function Reader:mended() end

--- Idempotent.
function Reader:close() end

return xml
