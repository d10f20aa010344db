package issue

import (
	"encoding/pem"
	"errors"
	"fmt"
	"os"

	"causeway/internal/conf"
	"causeway/relay/auth"
)

// LoadSigners reads the keys of A/V authentication: the certificate's, which issues, and the previous one, if there is
// one, whose credentials stay good. It returns none for a nil section. Errors name the setting and the file.
func LoadSigners(c *conf.RelayCredentials) ([]*auth.Signer, error) {
	if c == nil {
		return nil, nil
	}
	current, err := loadSigner("relay.credentials.key", c.Key)
	if err != nil {
		return nil, err
	}
	signers := []*auth.Signer{current}
	if c.PreviousKey == "" {
		return signers, nil
	}
	previous, err := loadSigner("relay.credentials.previous_key", c.PreviousKey)
	if err != nil {
		return nil, err
	}
	if previous.KeyID() != current.KeyID() {
		signers = append(signers, previous)
	}
	return signers, nil
}

func loadSigner(setting, file string) (*auth.Signer, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", setting, err)
	}
	der, err := privateKey(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %s: %w", setting, file, err)
	}
	signer, err := auth.NewSigner(der)
	if err != nil {
		return nil, fmt.Errorf("%s: %s: %w", setting, file, err)
	}
	return signer, nil
}

// privateKey returns the first unencrypted private key of a PEM text.
func privateKey(text []byte) ([]byte, error) {
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		switch block.Type {
		case "PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY":
			return block.Bytes, nil
		case "ENCRYPTED PRIVATE KEY":
			return nil, errors.New("the private key in it is encrypted")
		}
	}
	return nil, errors.New("no private key in it")
}
