create table if not exists product (
  id bigint generated always as identity primary key,
  name text not null,
  cents integer not null check (cents >= 0)
);

create table if not exists purchase (
  id bigint generated always as identity primary key,
  product bigint not null references product,
  made timestamptz not null default now()
);
