// Package chat renders chat templates: the Jinja of a tokenizer's chat_template, byte for byte as
// transformers' apply_chat_template does (Jinja 3.1 in its immutable sandbox, with trim_blocks,
// lstrip_blocks, loop controls, {% generation %}, tojson, raise_exception, strftime_now).
//
// A template comes from a checkpoint and is not trusted. It reaches what it is given and nothing else;
// steps, memory and depth are bounded; what this package does not know is an error with its line.
//
// It is pure Go and imports no other package of this module.
package chat
