package sip

import "testing"

// FuzzSession walks a session by the fuzzer's choices: each byte is one draw of
// the model's. When they are used up the session is ended.
func FuzzSession(f *testing.F) {
	f.Add([]byte{0})
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 300 {
			return
		}
		choose := func(n int, _ string) int {
			if len(data) == 0 {
				return 0
			}
			b := data[0]
			data = data[1:]
			return int(b) % n
		}
		checkSession(t, choose, func() bool { return len(data) > 0 })
	})
}
