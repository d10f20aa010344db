package turn

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// credentialSources are the ways by which a client comes to a name and a password.
var credentialSources = []struct {
	name          string
	setup         setup
	causewayAlone bool
	credential    func(t *testing.T, s *subject) credential
}{
	{
		name:       "static",
		credential: func(*testing.T, *subject) credential { return credential{user, password} },
	},
	{
		name:       "shared secret",
		setup:      setup{Rest: true},
		credential: func(*testing.T, *subject) credential { return restCredential(restSecret) },
	},
	{
		// Secrets rotate: the one before the newest is live as well.
		name:          "previous shared secret",
		causewayAlone: true,
		credential:    func(*testing.T, *subject) credential { return restCredential("previous") },
	},
	{
		// What `causeway credentials` issues from the key of the A/V authentication certificate; the relay needs nothing
		// but the same key to accept it.
		name:          "a/v authentication",
		causewayAlone: true,
		credential:    issued,
	},
}

// issued runs the command that issues a credential.
func issued(t *testing.T, s *subject) credential {
	t.Helper()
	cmd := exec.Command(binaries.Plain, "credentials", "--user", "carol", "--ttl", "8h", "--json", "-c", filepath.Join(s.Dir, "causeway.yaml"))
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("causeway credentials: %v", err)
	}
	var answer struct{ Username, Password string }
	if err := json.Unmarshal(out, &answer); err != nil {
		t.Fatalf("causeway credentials: %v in %s", err, out)
	}
	return credential{answer.Username, answer.Password}
}

// restCredential makes a name and a password of the TURN REST form as a web server would that knows the secret.
func restCredential(secret string) credential {
	name := fmt.Sprintf("%d:bob", time.Now().Add(time.Hour).Unix())
	mac := hmac.New(sha1.New, []byte(secret))
	mac.Write([]byte(name))
	return credential{name, base64.StdEncoding.EncodeToString(mac.Sum(nil))}
}
