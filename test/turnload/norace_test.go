//go:build !race

package turnload

const raced = false
