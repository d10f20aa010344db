//go:build !race

package pkt

// poisoning costs a pass over every buffer, which only test builds can afford.
const poisoning = false
