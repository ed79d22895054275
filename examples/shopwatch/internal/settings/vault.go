package settings

import (
	"fmt"
	"os"
	"strings"

	"github.com/svcblocks/svcblocks/config"
	"github.com/svcblocks/svcblocks/config/secret"
	"github.com/svcblocks/svcblocks/config/vault"
)

// vaultLayer resolves ref+vault:// references at the server that VAULT_ADDR
// names. The way in are the variables that Vault's own programs know:
// VAULT_TOKEN, VAULT_NAMESPACE, and beside them VAULT_TOKEN_FILE, or
// VAULT_ROLE_ID with VAULT_SECRET_ID or VAULT_SECRET_ID_FILE, and
// VAULT_ALLOW_PLAIN_HTTP=true for a Vault without TLS. They are no
// settings, as settings are what is read with their help.
func vaultLayer(getenv func(string) string) ([]config.Option, error) {
	address := getenv("VAULT_ADDR")
	if address == "" {
		return nil, nil
	}

	options := &vault.Options{
		Address:   address,
		Namespace: getenv("VAULT_NAMESPACE"),
		Token:     secret.New(getenv("VAULT_TOKEN")),
		TokenFile: getenv("VAULT_TOKEN_FILE"),
		// In a network of one's own, as between containers, Vault may speak http.
		AllowPlainHTTP: getenv("VAULT_ALLOW_PLAIN_HTTP") == "true",
		AppRole:        vault.AppRole{RoleID: getenv("VAULT_ROLE_ID"), SecretID: secret.New(getenv("VAULT_SECRET_ID"))},
	}

	if path := getenv("VAULT_SECRET_ID_FILE"); path != "" {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("settings: VAULT_SECRET_ID_FILE: %w", err)
		}
		options.AppRole.SecretID = secret.New(strings.TrimRight(string(text), "\r\n"))
	}

	resolver, err := vault.New(options)
	if err != nil {
		return nil, fmt.Errorf("settings: VAULT_ADDR is set: %w (they come from VAULT_ADDR, VAULT_TOKEN, VAULT_TOKEN_FILE, VAULT_ROLE_ID and VAULT_SECRET_ID; VAULT_ALLOW_PLAIN_HTTP=true sets AllowPlainHTTP)", err)
	}
	return []config.Option{config.Resolve("vault", resolver)}, nil
}
