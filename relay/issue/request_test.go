package issue

import (
	"bytes"
	"net/http"
	"testing"
)

// FuzzRequest looks for a request that is neither read nor refused, or that is read and names no side. The seeds stand
// in testdata/fuzz.
func FuzzRequest(f *testing.F) {
	f.Fuzz(func(t *testing.T, body []byte) {
		asked, refused := readRequest(bytes.NewReader(body))
		if refused != nil {
			if refused.status != http.StatusBadRequest || refused.reason != reasonMalformed || refused.err == nil {
				t.Errorf("%+v", refused)
			}
			return
		}
		if asked.Side != External && asked.Side != Internal {
			t.Errorf("side %q", asked.Side)
		}
	})
}
