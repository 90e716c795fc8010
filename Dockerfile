# Node on Alpine, by the digest of the image for all platforms. For another version:
#   docker buildx imagetools inspect node:26-alpine
ARG NODE_IMAGE=node:26.10.0-alpine3.24@sha256:0b36e8c136b94cd4fcf02188228e76c31ad5872eef3fec8cbd2eee500cfd9e80

# The runtime needs no build step: Node runs the TypeScript as it is. This stage only fetches the packages.
FROM ${NODE_IMAGE} AS packages
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
# Neither the development tools nor what only a first try needs (Node itself, the embedded PostgreSQL).
RUN npm ci --omit=dev --omit=optional --ignore-scripts && npm cache clean --force

FROM ${NODE_IMAGE}
# npm and yarn are of no use at run time and a surface less to patch.
RUN rm -rf /usr/local/lib/node_modules /usr/local/bin/npm /usr/local/bin/npx /usr/local/bin/corepack \
      /usr/local/bin/yarn /usr/local/bin/yarnpkg /opt/yarn*
WORKDIR /app
COPY --from=packages /app/node_modules ./node_modules
COPY package.json LICENSE upstreams.schema.json ./
COPY gateway ./gateway
ENV NODE_ENV=production \
    UPSTREAMS_FILE=/etc/poweron-gateway/upstreams.json \
    ADMIN_HOST=0.0.0.0
USER node
EXPOSE 8080 9090
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 \
  CMD ["node", "-e", "fetch('http://127.0.0.1:' + (process.env.ADMIN_PORT || 9090) + '/healthz').then((r) => process.exit(r.ok ? 0 : 1), () => process.exit(1))"]
# The exec form: node is process 1 and gets the signals itself.
ENTRYPOINT ["node", "--min-semi-space-size=16", "--max-semi-space-size=16", "gateway/main.ts"]
CMD ["serve"]
