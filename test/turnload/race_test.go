//go:build race

package turnload

const raced = true
