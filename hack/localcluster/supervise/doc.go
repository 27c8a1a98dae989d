// Package supervise keeps a set of long-running programs alive: it starts them with a log file each, starts
// those that end again, stops them on request, and answers over a Unix socket how they are.
// It must not know what the programs are.
package supervise
