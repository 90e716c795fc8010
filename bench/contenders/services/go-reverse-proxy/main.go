// What a tutorial for Go would write. With AUTH=yes it verifies the token, then sends one query for this one request.
package main

import (
	"context"
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"sync"

	"github.com/golang-jwt/jwt"
	"github.com/jackc/pgx/v4/pgxpool"
)

// With the default of two, nearly every connection to the backend would close after one request.
const keptConnections = 128

// As many as the other contenders have that send a query for each request.
const databaseConnections = 10

const statement = `select "userId", "mandateId", "sessionId" from "Token"
	where "id" = $1 and "status" = 'ACTIVE' and "expiresAt" > now()`

func main() {
	backend, err := url.Parse("http://127.0.0.1:" + os.Getenv("BACKEND_PORT"))
	if err != nil {
		log.Fatal(err)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConns = keptConnections
	transport.MaxIdleConnsPerHost = keptConnections
	proxy := httputil.NewSingleHostReverseProxy(backend)
	proxy.Transport = transport
	if os.Getenv("TUNED") == "yes" {
		proxy.BufferPool = &bufferPool{}
	}

	var handler http.Handler = proxy
	if os.Getenv("AUTH") == "yes" {
		handler = requireSession(proxy)
	}
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Args[1], handler))
}

// requireSession hands requests on with their identity, or answers with 401.
func requireSession(next http.Handler) http.Handler {
	key := []byte(os.Getenv("JWT_SECRET"))
	parser := jwt.NewParser(jwt.WithValidMethods([]string{"HS256"}))
	pool := openPool()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, err := verifiedID(r, parser, key)
		if err != nil {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		found, err := findSession(r.Context(), pool, id)
		if err != nil {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		r.Header.Set("X-User-Id", found.userID)
		r.Header.Set("X-Session-Id", found.sessionID)
		next.ServeHTTP(w, r)
	})
}

func openPool() *pgxpool.Pool {
	config, err := pgxpool.ParseConfig(os.Getenv("DATABASE_URL"))
	if err != nil {
		log.Fatal(err)
	}
	config.MaxConns = databaseConnections
	pool, err := pgxpool.ConnectConfig(context.Background(), config)
	if err != nil {
		log.Fatal(err)
	}
	return pool
}

func verifiedID(r *http.Request, parser *jwt.Parser, key []byte) (string, error) {
	cookie, err := r.Cookie("auth_token")
	if err != nil {
		return "", err
	}
	var claims jwt.RegisteredClaims
	_, err = parser.ParseWithClaims(cookie.Value, &claims, func(*jwt.Token) (interface{}, error) {
		return key, nil
	})
	return claims.ID, err
}

type session struct {
	userID, sessionID string
	mandateID         *string
}

func findSession(ctx context.Context, pool *pgxpool.Pool, id string) (session, error) {
	var found session
	row := pool.QueryRow(ctx, statement, id)
	err := row.Scan(&found.userID, &found.mandateID, &found.sessionID)
	return found, err
}

// Without it ReverseProxy makes a buffer for the body of each answer.
type bufferPool struct {
	buffers sync.Pool
}

func (pool *bufferPool) Get() []byte {
	if kept, ok := pool.buffers.Get().(*[]byte); ok {
		return *kept
	}
	return make([]byte, 32*1024)
}

func (pool *bufferPool) Put(buffer []byte) {
	pool.buffers.Put(&buffer)
}
