// Package vault resolves references to secrets in HashiCorp Vault and OpenBao:
// KV version 1 and 2, and engines that give a lease, such as database
// credentials. It speaks the HTTP API over net/http and needs no SDK.
//
//	r, err := vault.New(&vault.Options{
//		Address: "https://vault.internal:8200",
//		AppRole: vault.AppRole{RoleID: "…", SecretID: secret.New("…")},
//	})
//	store, err := config.Load(ctx, Settings{}, config.File("config.yaml"), config.Resolve("vault", r))
//
// The path of a reference is the path of the API: ref+vault://secret/data/mail#password
// for key password of secret mail in a KV version 2 engine at secret/, or
// ref+vault://kv/mail#password in a version 1 engine. A version is chosen with
// ?version=3. Without #key the secret must have one key.
//
// The resolver starts no goroutine. It renews its token and its leases when it
// is asked again, which config.Store.Run does after two thirds of a lease, each
// config.RefreshEvery for what has none, and before the token ends. A lease
// is renewed at most twice before a new secret is read, and keys of one leased
// secret, such as its username and password, always come from one lease.
package vault
