package turn

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"fmt"
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
}

// restCredential makes a name and a password of the TURN REST form as a web server would that knows the secret.
func restCredential(secret string) credential {
	name := fmt.Sprintf("%d:bob", time.Now().Add(time.Hour).Unix())
	mac := hmac.New(sha1.New, []byte(secret))
	mac.Write([]byte(name))
	return credential{name, base64.StdEncoding.EncodeToString(mac.Sum(nil))}
}
