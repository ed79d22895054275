// Package auth protects an API with access tokens, and a page with a login, of
// an OpenID Connect provider.
//
// The provider is found in the background: while it cannot be reached, requests
// that need it are answered 503 with Retry-After, and everything else works.
//
//	a, err := auth.New(auth.Options{Config: auth.Config{
//		Issuer: "https://id.example", Audience: "shop-watch", Scope: "watch", ClientID: "shop-watch-page",
//	}, BaseURL: "https://watch.example/", SignIn: page})
//	…
//	go a.Run(ctx)
//	mux.Handle("/api/", a.API(api))
//	mux.Handle("/", a.Page(page))
//	mux.Handle("/login", a.Login())
//
// Access tokens are JWTs signed with a public key (RFC 9068): issuer, audience,
// time, signature, scope and the client they were issued to are checked here,
// with keys that are kept and renewed. Opaque tokens are not supported.
//
// A login is the authorization code flow with PKCE, state and nonce. The session
// is an encrypted cookie; a logout also makes copies of it worthless, across
// restarts too with Options.Logouts. Who is admitted is asked at each request.
package auth
