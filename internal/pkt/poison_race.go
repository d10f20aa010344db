//go:build race

package pkt

const poisoning = true
