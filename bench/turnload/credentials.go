package turnload

import (
	"strconv"
	"time"

	"causeway/relay/auth"
)

// OneUser has all clients use one credential.
func OneUser(user, password string) func(client int) (string, string) {
	return func(int) (string, string) { return user, password }
}

// RestUsers has each client be a user of its own, with a time-limited credential of the TURN REST form that is made
// from a secret which the server knows.
func RestUsers(secret string, expires time.Time) func(client int) (user, password string) {
	return func(client int) (string, string) {
		c := auth.RestCredential(secret, "client"+strconv.Itoa(client), expires)
		return c.Username, c.Password
	}
}
