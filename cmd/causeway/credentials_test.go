package main

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"testing"
	"time"

	"causeway/internal/conf"
	"causeway/relay/auth"
	"causeway/relay/issue"
)

// TestCredentialsAreThoseOfTheServer: what the command prints is what a relay
// with the same key, and nothing else in common, lets in.
func TestCredentialsAreThoseOfTheServer(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	var out, errs bytes.Buffer
	if code := run([]string{"credentials", "--user", "alice", "--ttl", "1h", "--json"}, streams{&out, &errs}); code != exitDone {
		t.Fatalf("exit %d: %s", code, errs.String())
	}
	var got issue.Answer
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	signers, err := issue.LoadSigners(&conf.RelayCredentials{Key: filepath.Join(dir, "state", "lab", "av.key")})
	if err != nil {
		t.Fatal(err)
	}
	relay, err := auth.NewCredentials(auth.Options{Realm: "example.org", Signers: signers})
	if err != nil {
		t.Fatal(err)
	}
	key := string(auth.Key(nil, auth.SHA256, got.Username, "example.org", got.Password))
	id, err := relay.Verify(time.Now(), []byte(got.Username), nil, auth.SHA256, func(k []byte) bool { return string(k) == key })
	if err != nil || id.User != "alice" || !id.Expires.Equal(got.Expires) {
		t.Errorf("identity %+v, %v", id, err)
	}
	if left := time.Until(got.Expires); left > time.Hour || left < 59*time.Minute {
		t.Errorf("expires in %v", left)
	}
}
