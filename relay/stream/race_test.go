//go:build race

package stream

// underRace: allocation counts and memory figures mean nothing.
const underRace = true
