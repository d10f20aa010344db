//go:build race

package tone

const raceEnabled = true
